//! Which Redis may be used, and how it is reached: passwords, TLS, Sentinel.

use super::{
    bus, limiter, link,
    server::{Certificate, PATIENCE, Server, free_port, until},
};
use maniple_backends::redis::Link;
use maniple_core::{
    Kind,
    ports::{Admission, Bus as _, RateLimiter as _},
};
use maniple_testkit::bus_suite::{Heard, event, key, next};
use std::{path::Path, process::Command, time::Duration};

async fn refused(url: &str) -> String {
    match Link::open(url.parse().expect("legal")).await {
        Ok(_) => panic!("{url} was taken"),
        Err(error) => {
            assert_eq!((error.kind, error.field.as_deref()), (Kind::Invalid, Some("bus")), "{error:?}");
            format!("{error:?}")
        }
    }
}

/// Two processes hear each other, and count in Redis.
async fn is_of_use(url: &str) {
    let (here, there) = (bus(url).await, bus(url).await);
    until("both listen", async || here.ping().await.is_ok() && there.ping().await.is_ok()).await;
    let mut reader = there.subscribe(&key("t")).await;
    here.publish(&key("t"), event(1));
    assert_eq!(next(&mut reader).await, Heard::Event(1));
    let (here, there) = (limiter(url).await, limiter(url).await);
    let (first, second) = (here.take("b", 1, Duration::from_secs(60), "a").await, there.take("b", 1, Duration::from_secs(60), "b").await);
    assert_eq!(first.expect("counted"), Admission::Now);
    assert!(matches!(second.expect("counted"), Admission::After(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_refused_by_name_and_a_sentinel_is_no_redis() {
    let cluster = Server::start(&["--cluster-enabled", "yes"]).await;
    let told = refused(&cluster.url()).await;
    assert!(told.contains("Redis Cluster is not supported"), "{told}");
    let server = Server::start(&[]).await;
    let told = refused(&Server::sentinel(&server).await.url()).await;
    assert!(told.contains("write redis+sentinel://"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_and_never_shown() {
    let server = Server::start(&["--requirepass", "s3cret@"]).await;
    let told = refused(&server.url()).await;
    assert!(told.contains("asks for a password"), "{told}");
    let told = refused(&format!("redis://:wr0ng@127.0.0.1:{}", server.port)).await;
    assert!(told.contains("refuses the user or the password") && !told.contains("wr0ng"), "{told}");
    is_of_use(&format!("redis://:s3cret%40@127.0.0.1:{}/3", server.port)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_no_more_rights_than_those_of_its_prefix() {
    let server = Server::start(&[]).await;
    let rights = "ACL SETUSER ann on >s3cret resetchannels ~blue:* &blue:* -@all +hello +publish +subscribe +unsubscribe +pubsub|numsub \
                  +eval +evalsha +script|load +time +zadd +zscore +zrevrange +zrangebyscore +zremrangebyscore +zrem +zcard +del +pexpire +expire +select";
    server.ask::<String>(rights.split_whitespace().collect::<Vec<_>>().join(" ").as_str()).await;
    is_of_use(&format!("redis://ann:s3cret@127.0.0.1:{}/1?prefix=blue", server.port)).await;
}

/// Told by whom it is run, with the server's certificate known.
const TLS_URL: &str = "MANIPLE_TEST_REDIS_OVER_TLS";

/// Where a test is run again with the authority known, what it does then; nothing where it is not.
fn known_url() -> Option<String> {
    std::env::var(TLS_URL).ok()
}
/// Runs a test of this file again, with the authority in that folder known.
fn run_again(test: &str, url: &str, folder: &Path) {
    let this = std::env::current_exe().expect("a test");
    let run = Command::new(this)
        .args(["--exact", &format!("redis::place::{test}"), "--nocapture"])
        .env(TLS_URL, url)
        .env("SSL_CERT_FILE", folder.join("root.pem"))
        .output()
        .expect("it runs");
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_certificate_must_be_known() {
    if let Some(url) = known_url() {
        // This is the run in which it is.
        return is_of_use(&url).await;
    }
    let certificate = Certificate::of(&["localhost"]);
    let port = free_port();
    let plain = Server::start_with(|folder| certificate.settings(folder, port)).await;
    let url = format!("rediss://localhost:{port}");
    let unknown = bus(&url).await.ping().await.expect_err("nobody knows its certificate");
    assert!(unknown.message.contains("certificate"), "{unknown:?}");
    let wrong_name = format!("rediss://127.0.0.1:{port}");
    assert!(bus(&wrong_name).await.ping().await.is_err());
    run_again("over_tls_a_certificate_must_be_known", &url, plain.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_sentinels_say_who_the_master_is_and_both_must_be_known() {
    if let Some(url) = known_url() {
        return is_of_use(&url).await;
    }
    // Sentinels name a master by its address, or by its name where they are told to: its certificate must be for that.
    for host in ["127.0.0.1", "localhost"] {
        let certificate = Certificate::of(&[host]);
        let (tls_of_master, tls_of_sentinel) = (free_port(), free_port());
        let _master = Server::start_with(|folder| certificate.settings(folder, tls_of_master)).await;
        let sentinel = Server::sentinel_over_tls(host, tls_of_master, &certificate, tls_of_sentinel).await;
        let url = format!("rediss+sentinel://{host}:{tls_of_sentinel}/main/1");
        let unknown = bus(&url).await.ping().await.expect_err("nobody knows its certificate");
        assert!(unknown.message.contains("certificate"), "{unknown:?}");
        run_again("over_tls_sentinels_say_who_the_master_is_and_both_must_be_known", &url, sentinel.folder.path());
        // In the clear they are not spoken to.
        assert!(bus(&format!("redis+sentinel://{host}:{tls_of_sentinel}/main/1")).await.ping().await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_say_who_the_master_is_and_a_failover_is_followed() {
    let first = Server::start(&[]).await;
    let second = Server::start(&["--replicaof", "127.0.0.1", &first.port.to_string()]).await;
    until("the replica follows", async || second.ask::<String>("INFO replication").await.contains("master_link_status:up")).await;
    let sentinel = Server::sentinel(&first).await;
    let url = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:1/main/2", sentinel.port);
    is_of_use(&url).await;
    let told = refused_for_now(&format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port)).await;
    assert!(told.contains("know no such master"), "{told}");
    let (here, there) = (bus(&url).await, bus(&url).await);
    until("both listen", async || here.ping().await.is_ok() && there.ping().await.is_ok()).await;
    until("the replica is known", async || {
        sentinel
            .ask::<Vec<std::collections::HashMap<String, String>>>("SENTINEL REPLICAS main")
            .await
            .iter()
            .any(|replica| replica.get("master-link-status").is_some_and(|status| status == "ok"))
    })
    .await;
    sentinel.ask::<String>("SENTINEL FAILOVER main").await;
    until("the replica is the master", async || second.ask::<String>("INFO replication").await.contains("role:master")).await;
    until("the master is a replica", async || first.ask::<String>("INFO replication").await.contains("role:slave")).await;
    // Both follow, whichever connection noticed it first.
    let mut reader = there.subscribe(&key("t")).await;
    let mut seq = 0;
    let heard = async {
        loop {
            seq += 1;
            here.publish(&key("t"), event(seq));
            tokio::select! {
                heard = next(&mut reader) => if matches!(heard, Heard::Event(_)) { return },
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("they hear each other over the new master");
    until("they listen there", async || {
        let listening: Vec<(String, u64)> = second.ask("PUBSUB NUMSUB maniple:2:hints").await;
        listening.first().is_some_and(|(_, processes)| *processes == 2)
    })
    .await;
}

async fn refused_for_now(url: &str) -> String {
    let link = link(url).await;
    let bus = maniple_backends::redis::Bus::over(link);
    bus.ping().await.expect_err("there is none").to_string()
}
