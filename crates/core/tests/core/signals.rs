//! Facts from outside, and parking.

use crate::bench::{Bench, signal, task};
use maniple_core::{
    event::{Event, Parked, Resumed},
    run::Next,
    signal::SignalKind,
    task::{Ending, WaitingFor},
};

#[test]
fn a_cancel_ends_the_run_wherever_it_stands() {
    let mut asked = Bench::new(task());
    asked.start().asked();
    let mut calling = Bench::new(task());
    calling.start().calls(&[("look", "{}")]).plan(8);
    for mut bench in [Bench::new(task()), asked, calling] {
        bench.unread.push(signal("c", SignalKind::Cancel));
        assert_eq!(bench.live.signalled(&bench.unread[0]), [], "its record is the final event");
        assert_eq!(bench.end(), Ending::cancelled());
    }
}

#[test]
fn a_cancel_not_yet_marked_as_read_survives_the_death_of_its_reader() {
    let mut bench = Bench::new(task());
    bench.unread.push(signal("c", SignalKind::Cancel));
    bench.live.signalled(&bench.unread[0]);
    bench.crash();
    assert_eq!(bench.end(), Ending::cancelled());
}

#[test]
fn a_run_that_has_ended_is_not_cancelled_any_more() {
    let mut bench = Bench::new(task());
    bench.start().says("done").end();
    bench.live.signalled(&signal("c", SignalKind::Cancel));
    assert_eq!(bench.next(), Next::Nothing);
}

#[test]
fn what_wakes_a_parked_run_is_recorded_once() {
    for kind in [SignalKind::Timer, SignalKind::Approval, SignalKind::Input, SignalKind::Child] {
        let mut bench = Bench::new(task());
        bench.start();
        assert_eq!(bench.live.signalled(&signal("early", kind)), [], "it is not parked");
        bench.record(&[(0, Event::Parked(Parked { waiting_for: WaitingFor::Timer, until: Some(bench.now) }))]);
        bench.crash();
        let resumed = bench.live.signalled(&signal("s", kind)).remove(0);
        assert_eq!(resumed, Event::Resumed(Resumed { by: "s".into() }));
        bench.record(&[(0, resumed)]);
        assert_eq!(bench.live.signalled(&signal("late", kind)), [], "it goes on already");
    }
}

#[test]
fn parking_and_resuming_change_nothing_of_what_comes_next() {
    let mut bench = Bench::new(task());
    bench.start().calls(&[("look", "{}")]);
    bench.record(&[(1, Event::Parked(Parked { waiting_for: WaitingFor::Timer, until: None }))]);
    assert_eq!(bench.next(), Next::Call);
    bench.record(&[(1, Event::Resumed(Resumed { by: "s".into() }))]);
    assert_eq!(bench.next(), Next::Call);
}
