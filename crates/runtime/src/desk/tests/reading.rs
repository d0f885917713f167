//! Reading the events of a task.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_reader_resumes_after_any_number_and_after_the_last_there_is_nothing() {
    let node = node();
    node.desk.submit(&me(), submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=150 {
        after = node.record(&claimed, after, vec![(step, asked(1))], Then::Keep).await;
    }
    node.end(&claimed, after).await;
    let last = after + 1;
    for from in 0..last {
        let reader = node.desk.events(&me(), &sought("t"), from).await.unwrap().expect("something follows");
        assert_eq!(numbers(reader).await, (from + 1..=last).collect::<Vec<_>>());
    }
    assert!(node.desk.events(&me(), &sought("t"), last).await.unwrap().is_none());
    assert!(node.desk.events(&me(), &sought("t"), last + 5).await.unwrap().is_none());
    assert_eq!(node.desk.events(&me(), &sought("none"), 0).await.err().map(|e| e.kind), Some(Kind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_reader_ahead_of_the_journal_still_ends_with_the_task() {
    for bus in [Arc::new(local::Bus::new()) as Arc<dyn Bus>, Arc::new(Deaf)] {
        let node = node_on(bus);
        node.desk.submit(&me(), submission("t")).await.unwrap();
        let reader = node.desk.events(&me(), &sought("t"), 99).await.unwrap().unwrap();
        let reading = tokio::spawn(numbers(reader));
        node.end(&node.claim().await, 1).await;
        assert_eq!(reading.await.unwrap(), Vec::<u64>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_rests_now_and_then_misses_and_repeats_nothing() {
    let node = node();
    node.desk.submit(&me(), submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=150 {
        after = node.record(&claimed, after, vec![(step, asked(1))], Then::Keep).await;
    }
    node.end(&claimed, after).await;
    for rests_every in 1..7 {
        let mut reader = node.desk.events(&me(), &sought("t"), 0).await.unwrap().unwrap();
        let mut seen = Vec::new();
        while let Some(Told::Event(event)) = reader.next().await.unwrap() {
            seen.push(event.seq);
            if event.seq % rests_every == 0 {
                reader.rest();
                let again = reader.again(event.seq).await.unwrap().expect("it is there");
                assert_eq!((again.seq, again.data.get()), (event.seq, event.data.get()));
            }
        }
        assert_eq!(seen, (1..=after + 1).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lags_loses_deltas_and_no_event() {
    let node = node();
    let (_, reader) = node.desk.submit_and_follow(&me(), submission("t")).await.unwrap();
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=1_000 {
        after = node.record(&claimed, after, vec![(step, asked(1))], Then::Keep).await;
        for index in 0..5 {
            node.bus.publish(&key("t"), Live::Delta(Delta { step, attempt: 1, index, text: "x".into() }));
        }
    }
    node.end(&claimed, after).await;
    let told: Vec<Told> = reader.into_stream().map(Result::unwrap).collect().await;
    let (events, deltas): (Vec<&Told>, Vec<&Told>) = told.iter().partition(|told| matches!(told, Told::Event(_)));
    assert_eq!(events.len() as u64, after + 1);
    assert!(deltas.len() < 1_024, "{} deltas came through", deltas.len());
}

#[tokio::test(start_paused = true)]
async fn deltas_come_before_the_event_that_replaces_them_and_never_after_a_higher_attempt() {
    let node = node();
    let (_, mut reader) = node.desk.submit_and_follow(&me(), submission("t")).await.unwrap();
    let delta = |step, attempt, index| Live::Delta(Delta { step, attempt, index, text: "x".into() });
    for live in [delta(1, 1, 0), delta(1, 2, 0), delta(1, 1, 1), delta(1, 2, 1), delta(2, 1, 0)] {
        node.bus.publish(&key("t"), live);
    }
    node.end(&node.claim().await, 1).await;
    let mut seen = Vec::new();
    while let Some(told) = reader.next().await.unwrap() {
        seen.push(match told {
            Told::Event(event) => event.name.to_string(),
            Told::Delta(delta) => format!("{}.{}.{}", delta.step, delta.attempt, delta.index),
        });
    }
    assert_eq!(seen, ["task.accepted", "1.1.0", "1.2.0", "1.2.1", "2.1.0", "task.completed"]);
}

/// 1,000 connections in all, broken off at random moments, over a bus that loses, repeats and reorders.
#[tokio::test(start_paused = true)]
async fn a_thousand_random_disconnects_miss_repeat_and_reorder_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut connections = 0;
    for round in 0.. {
        if connections >= 1_000 {
            break;
        }
        let bus = Faulty { inner: local::Bus::new(), dice: Mutex::new(dice.fork()), held: Mutex::default() };
        let node = Arc::new(node_on(Arc::new(bus)));
        node.desk.submit(&me(), submission("t")).await.unwrap();
        let worker = tokio::spawn(work_at_random(node.clone(), dice.fork()));
        let mut seen = Vec::new();
        while let Some(mut reader) = node.desk.events(&me(), &sought("t"), seen.len() as u64).await.unwrap() {
            connections += 1;
            let patience = Duration::from_millis(dice.u64(0..3_000));
            let reading = async {
                while let Some(told) = reader.next().await.unwrap() {
                    if let Told::Event(event) = told {
                        seen.push(event.seq);
                    }
                }
            };
            let _ = tokio::time::timeout(patience, reading).await;
        }
        worker.await.unwrap();
        let all: Vec<u64> =
            node.store.events(&key("t"), 0, 10_000, usize::MAX).await.unwrap().unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(seen, all, "round {round} of seed {seed}");
    }
}

async fn work_at_random(node: Arc<Node>, mut dice: fastrand::Rng) {
    let claimed = node.claim().await;
    let mut after = 1;
    for step in 1..=dice.u32(5..60) {
        tokio::time::sleep(Duration::from_millis(dice.u64(0..800))).await;
        let events = (0..dice.usize(1..8)).map(|_| (step, asked(1))).collect();
        after = node.record(&claimed, after, events, Then::Keep).await;
        for index in 0..dice.u32(0..20) {
            node.bus.publish(&key("t"), Live::Delta(Delta { step, attempt: 1, index, text: "x".into() }));
        }
        node.store.renew(std::slice::from_ref(&claimed.claim)).await.unwrap();
    }
    node.end(&claimed, after).await;
}
