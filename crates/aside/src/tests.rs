use super::*;
use futures::future::join_all;
use maniple_core::Kind;
use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

fn aside(at_once: usize, waiting: usize, wait: Period) -> Aside {
    Aside::new(AsideSettings { at_once, waiting, wait })
}

/// Work that goes on until what is returned is dropped.
fn endless() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
    let (end, ended) = mpsc::channel::<()>();
    (end, move || _ = ended.recv())
}

#[tokio::test]
async fn what_is_small_is_done_by_the_caller_and_what_is_large_is_not() {
    let here = thread::current().id();
    let (aside, place) = (Aside::default(), || thread::current().id());
    assert_eq!(aside.run(false, "acme", place).await.unwrap(), here);
    assert_ne!(aside.run(true, "acme", place).await.unwrap(), here);
}

#[tokio::test]
async fn no_more_is_done_at_once_than_there_are_places() {
    let (aside, now, most) = (aside(3, 100, Period::minutes(1)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let all = (0..40).map(|n| {
        let (now, most, aside) = (now.clone(), most.clone(), aside.clone());
        async move {
            let work = move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            };
            aside.run(true, ["acme", "beta", "gamma"][n % 3], work).await.unwrap();
        }
    });
    join_all(all).await;
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
    assert!(aside.0.owners.lock().unwrap().is_empty(), "whoever has left is forgotten");
}

#[tokio::test]
async fn one_owner_never_has_all_places() {
    let aside = aside(2, 100, Period::minutes(1));
    let (end, work) = endless();
    let first = tokio::spawn({
        let aside = aside.clone();
        async move { aside.run(true, "acme", work).await }
    });
    let more: Vec<_> = (0..20)
        .map(|_| {
            let aside = aside.clone();
            tokio::spawn(async move { aside.run(true, "acme", || ()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(aside.run(true, "beta", || "served").await.unwrap(), "served", "while acme's goes on and twenty of its wait");
    assert!(more.iter().all(|one| !one.is_finished()));
    drop(end);
    first.await.unwrap().unwrap();
    for one in more {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn who_comes_to_a_full_line_or_waits_too_long_is_told_when_to_come_back() {
    let aside = aside(2, 1, Period::ms(50));
    let (end, work) = endless();
    let first = tokio::spawn({
        let aside = aside.clone();
        async move { aside.run(true, "acme", work).await }
    });
    while aside.0.all.available_permits() == 2 {
        tokio::task::yield_now().await;
    }
    let (second, third) = tokio::join!(aside.run(true, "acme", || ()), aside.run(true, "acme", || ()));
    let (second, third) = (second.unwrap_err(), third.unwrap_err());
    assert_eq!((second.kind, third.kind), (Kind::Unavailable, Kind::Exhausted));
    assert!(second.retry_after.is_some() && third.retry_after.is_some_and(|after| after > Duration::ZERO));
    drop(end);
    first.await.unwrap().unwrap();
    aside.run(true, "acme", || ()).await.unwrap();
}

#[tokio::test]
async fn what_has_begun_keeps_its_place_when_its_caller_leaves() {
    let aside = aside(2, 1, Period::minutes(1));
    let (end, work) = endless();
    let caller = tokio::spawn({
        let aside = aside.clone();
        async move { aside.run(true, "acme", work).await }
    });
    while aside.0.all.available_permits() == 2 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    let _ = caller.await;
    assert_eq!(aside.0.all.available_permits(), 1, "it is still at work");
    drop(end);
}
