use super::*;
use crate::rules;
use maniple_core::{
    Error, Kind, Time,
    event::{Event, Resumed},
    ports::{Append, Claim, NewTask, Refused, Then},
    run::Awaited,
    signal::{Signal, SignalKind},
    task::{Ending, ErrorCode, Progress, Task},
};
use maniple_testkit::store_suite::{append, completed, new, task_in, tool_finished};
use std::cell::Cell;

const NOW: Time = Time(1_000_000);

fn row(state: State) -> Row {
    Row::accepted(&task_in("a", "s"), 7, state, NOW)
}
fn running() -> Row {
    let mut row = row(State::Ready);
    row.record(&draft(), NOW);
    row.claimed(NOW);
    row
}
fn draft() -> rules::Draft {
    rules::Draft::of(0, &Event::Resumed(Resumed { by: "x".into() })).expect("written")
}
fn facts(row: &Row, after: u64, then: Then) -> (Append, Vec<rules::Draft>) {
    let claim = Claim { key: row.key(), epoch: row.epoch as u64 };
    let append = append(&claim, after, vec![tool_finished(0)], then);
    let drafts = rules::drafts(&append).expect("legal");
    (append, drafts)
}
fn park() -> Then {
    Then::Park(Awaited::moment(NOW))
}
fn signal(kind: SignalKind) -> Signal {
    Signal { id: "s".into(), kind, data: Default::default(), at: NOW }
}

fn accepts(task: Task, room: Room, session: InSession) -> Result<State, Kind> {
    let new = NewTask { session_waiting_max: 2, unfinished_max: 10, unfinished_each: 8, ..new(task) };
    accept(&new, &room, NOW, || Ok::<_, Error>(session)).map_err(|error| error.kind)
}
fn room() -> Room {
    Room { id_is_taken: false, dead_letter_is_there: false, unfinished: 0, unfinished_of_tenant: 0 }
}

#[test]
fn a_task_is_ready_where_nobody_is_before_it_and_waits_where_somebody_is() {
    let task = || task_in("a", "s");
    assert_eq!(accepts(task(), room(), InSession::Nobody), Ok(State::Ready));
    assert_eq!(accepts(task(), room(), InSession::Head { waiting: 1 }), Ok(State::Waiting));
    assert_eq!(accepts(task(), room(), InSession::Head { waiting: 2 }), Err(Kind::Exhausted));
    assert_eq!(accepts(task(), Room { id_is_taken: true, ..room() }, InSession::Nobody), Err(Kind::Conflict));
    assert_eq!(accepts(task(), Room { unfinished: 10, ..room() }, InSession::Nobody), Err(Kind::Unavailable));
    assert_eq!(accepts(task(), Room { unfinished: 9, unfinished_of_tenant: 8, ..room() }, InSession::Nobody), Err(Kind::Exhausted));
}

#[test]
fn a_scheduled_task_neither_holds_its_session_nor_is_bounded_by_it() {
    let asked = Cell::new(false);
    let scheduled = new(Task { not_before: Some(NOW.plus(rules::LEASE)), ..task_in("a", "s") });
    let state = accept(&scheduled, &room(), NOW, || {
        asked.set(true);
        Ok::<_, Error>(InSession::Nobody)
    });
    assert_eq!((state.ok(), asked.get()), (Some(State::Scheduled), false));
    assert_eq!(row(State::Scheduled).place, None);
}

#[test]
fn facts_are_recorded_under_the_claim_that_holds_and_the_number_that_is_next() {
    let row = running();
    let says = |append: &Append, row: &Row| record(row, append, || Ok::<_, Error>(vec![]), || Ok(None)).expect("decides");
    let (next, _) = facts(&row, 1, Then::Keep);
    assert_eq!(says(&next, &row), Recording::Now);
    assert_eq!(says(&facts(&row, 2, Then::Keep).0, &row), Recording::PerhapsBefore);
    let mut taken = row.clone();
    taken.claimed(NOW);
    assert_eq!(says(&next, &taken), Recording::PerhapsBefore, "an older epoch");
    let mut ready = row;
    ready.made_ready();
    assert_eq!(says(&next, &ready), Recording::PerhapsBefore, "nobody holds it");
}

#[test]
fn what_has_come_meanwhile_refuses_to_park_and_to_say_that_nobody_answered() {
    let mut row = running();
    row.signals = 1;
    let (parks, _) = facts(&row, 1, Then::Keep);
    let parks = Append { then: park(), ..parks };
    let with = |append: &Append, decided: Option<&str>| {
        record(&row, append, || Ok::<_, Error>(vec![signal(SignalKind::Input)]), || Ok(decided.map(str::to_owned))).expect("decides")
    };
    assert_eq!(with(&parks, None), Recording::Refused(Refused::SignalsUnread));
    let folds = Append { signals_read: vec!["s".into()], ..parks };
    assert_eq!(with(&folds, None), Recording::Now, "it folds what is unread");
    assert_eq!(with(&folds, Some("a:1:0")), Recording::Refused(Refused::Decided("a:1:0".into())));
}

#[test]
fn only_the_very_same_append_of_the_same_claim_was_recorded_before() {
    let mut row = running();
    let (keeps, drafts) = facts(&row, 1, Then::Keep);
    let stored = vec![(row.epoch, row.record(&drafts[0], NOW))];
    assert_eq!(repeats_count(&row, &keeps, &drafts), Some(1));
    assert!(repeats(&keeps, &drafts, &stored));
    assert!(!repeats(&keeps, &drafts, &[(row.epoch + 1, stored[0].1.clone())]), "another claim's");
    assert!(!repeats(&keeps, &drafts, &[]), "it was never written");
    row.made_ready();
    assert_eq!(repeats_count(&row, &keeps, &drafts), None, "who would go on must hold the claim");

    let (ends, drafts) = facts(&row, 1, completed("x"));
    let end = row.ended(&Ending::completed(Some("x".into())), NOW).expect("ends");
    let stored = vec![stored[0].clone(), (row.epoch, end.event)];
    assert_eq!(repeats_count(&row, &ends, &drafts), Some(2));
    assert!(repeats(&ends, &drafts, &stored) && !repeats(&Append { then: completed("y"), ..ends }, &drafts, &stored));
}

#[test]
fn claims_without_progress_poison_a_task_by_expiry_and_at_open_apart() {
    let mut row = running();
    assert_eq!((row.expired(), row.expired()), (Next::Ready, Next::Ready));
    row.came_on(Progress::default(), true);
    assert_eq!((row.barren_expired, row.expired(), row.barren_expired), (0, Next::Ready, 0), "an answer wipes them out");
    row.claimed(NOW);
    let third = (0..3).map(|_| row.expired()).last();
    assert!(matches!(third, Some(Next::End(ending)) if ending.error == Some(ErrorCode::Poisoned)));

    let mut row = running();
    let epoch = row.epoch;
    let opens: Vec<Next> = (0..rules::BARREN_OPEN_MAX).map(|_| row.found_open()).collect();
    assert_eq!(opens.iter().filter(|next| **next == Next::Ready).count() as u32, rules::BARREN_OPEN_MAX - 1);
    assert_eq!(row.epoch, epoch + i64::from(rules::BARREN_OPEN_MAX), "each voids the claim before it");
}

#[test]
fn what_is_due_depends_on_what_the_task_waits_for() {
    let later = NOW.plus(rules::LEASE);
    let mut parked = running();
    assert_eq!(parked.due(), None);
    parked.parked(&Awaited::moment(later));
    assert_eq!((parked.due(), parked.fell_due(NOW), parked.fell_due(later)), (Some(later), Due::Ready, Due::Timer("timer:1".into())));
    let in_time = Row { deadline: Some(later), ..row(State::Waiting) };
    assert_eq!((in_time.due(), in_time.fell_due(NOW)), (Some(later), Due::Nothing));
    assert!(matches!(in_time.fell_due(later), Due::End(ending) if ending.error == Some(ErrorCode::DeadlineExceeded)));
    let mut claimed = Row { deadline: Some(later), ..running() };
    claimed.made_ready();
    assert_eq!((claimed.due(), claimed.fell_due(later)), (None, Due::End(rules::overdue())), "once claimed, its run sees to it");
    assert_eq!(row(State::Scheduled).fell_due(NOW), Due::TakePlace);
}

#[test]
fn a_cancel_ends_only_what_was_never_claimed() {
    let known = |is: bool| move || Ok::<_, Error>(is);
    let received = |row: &Row, kind, is| receive(row, &signal(kind), known(is)).map_err(|error| error.kind);
    assert_eq!(received(&row(State::Waiting), SignalKind::Cancel, false), Ok(Received::End(Ending::cancelled())));
    assert_eq!(received(&running(), SignalKind::Cancel, false), Ok(Received::Left));
    assert_eq!(received(&row(State::Waiting), SignalKind::Input, false), Ok(Received::Left));
    let mut full = Row { signals: rules::SIGNALS_MAX as i64, ..running() };
    assert_eq!(
        (received(&full, SignalKind::Input, true), received(&full, SignalKind::Input, false)),
        (Ok(Received::Known), Err(Kind::Exhausted))
    );
    full.ended(&Ending::completed(None), NOW).expect("ends");
    assert_eq!(received(&full, SignalKind::Cancel, false), Ok(Received::TooLate));
}

#[test]
fn an_end_frees_the_session_of_a_head_and_of_nobody_else() {
    let frees = |mut row: Row| row.ended(&Ending::cancelled(), NOW).expect("ends").frees_session;
    assert!(frees(row(State::Ready)) && frees(running()));
    assert!(!frees(row(State::Waiting)) && !frees(row(State::Scheduled)));
}
