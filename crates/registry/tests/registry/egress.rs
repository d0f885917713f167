//! URLs from a model: none leads inside.

use crate::server::{Server, answer, invocation, read_request, tool};
use async_trait::async_trait;
use maniple_core::ports::{Invoked, RunCall, Tools};
use maniple_registry::{Catalog, Egress, Registry, egress::Lookup};
use serde_json::json;
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};
use tokio::io::AsyncWriteExt;

/// Answers every name with the next of its answers, the last one for ever, and counts.
struct Names {
    answers: Vec<Vec<&'static str>>,
    asked: Mutex<usize>,
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let mut asked = self.asked.lock().unwrap();
        let answer = &self.answers[(*asked).min(self.answers.len() - 1)];
        *asked += 1;
        Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect())
    }
}

fn names(answers: &[&[&'static str]]) -> Arc<Names> {
    Arc::new(Names { answers: answers.iter().map(|a| a.to_vec()).collect(), asked: Mutex::new(0) })
}

fn registry(allow: &[String], names: Arc<Names>) -> Registry {
    Registry::new(Arc::new(Catalog::default()), Egress::with_lookup(allow, names).unwrap())
}

async fn fetch(registry: &Registry, url: &str) -> Invoked {
    registry.invoke(&RunCall(invocation(tool("builtin:http_fetch", json!({})), json!({ "url": url })))).await
}

/// Knows one name, which leads inside.
struct Inside;

#[async_trait]
impl Lookup for Inside {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "wiki.corp.example" => Ok(vec!["10.1.2.3".parse().unwrap()]),
            "empty.corp.example" => Ok(vec![]),
            _ => Err(io::Error::other("failed to lookup address information: Name or service not known")),
        }
    }
}

#[tokio::test]
async fn a_model_is_told_of_a_name_inside_what_it_is_told_of_none() {
    let registry = Registry::new(Arc::new(Catalog::default()), Egress::with_lookup(&[], Arc::new(Inside)).unwrap());
    let mut told = Vec::new();
    for host in ["wiki.corp.example", "empty.corp.example", "none.corp.example"] {
        let Invoked::Failed(failure) = fetch(&registry, &format!("http://{host}/")).await else { panic!("{host} is answered otherwise") };
        told.push(failure["error"].as_str().unwrap().replace(host, "NAME"));
    }
    assert_eq!(told, vec!["NAME is not on the public internet, and egress.allow in maniple.yaml does not list it"; 3]);
}

/// Hosts that mean this machine or its neighbours. None is public under any reading: nothing leaves the machine.
const HOSTS: &str = "
    127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7F.0.0.1 0177.0.0.1 017700000001 0x7f.1 127.0.0.1. 127.0.0.01 0x7f.0x0.0x0.0x1
    0 0.0.0.0 0x0 000 10.0.0.1 012.0.0.1 0xa.1 167772161 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1 3232235777 100.64.0.1
    169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 100.100.100.200 168.63.129.16 192.0.0.192 224.0.0.1 255.255.255.255 240.0.0.1 198.18.0.1
    [::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1] [::ffff:0:127.0.0.1]
    [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2001:0:0:0:0:0:80ff:fffe] [2001:db8::1]
    [fe80::1] [fec0::1] [fc00::1] [fd00:ec2::254] [ff02::1] [3fff::1] [100::1]
    localhost LOCALHOST localhost. localhost.localdomain sub.localhost 127.0.0.1.nip.example inside.example inside.example. INSIDE.EXAMPLE
    metadata.google.internal kubernetes.default.svc xn--lclhst-bua.example
    ⑫⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 ⓛⓞⓒⓐⓛⓗⓞⓢⓣ %6c%6f%63%61%6c%68%6f%73%74 %31%32%37.0.0.1 loc\u{ad}alhost";

#[tokio::test]
async fn no_spelling_of_an_inside_address_reaches_it() {
    let sentinel = Server::start(|_| async {}).await;
    let port = sentinel.address.port();
    let registry = registry(&[], names(&[&["127.0.0.1"]]));
    let hosts = HOSTS.replace("\\u{ad}", "\u{ad}");
    let mut urls: Vec<String> =
        hosts.split_whitespace().flat_map(|host| [format!("http://{host}:{port}/"), format!("https://{host}:{port}/x?y")]).collect();
    for odd in [
        "http://public.example@127.0.0.1:PORT/",
        "http://public.example:80@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT@public.example/",
        "http://public.example%40127.0.0.1:PORT/",
        "http://127.0.0.1:PORT#@public.example/",
        "http://127.0.0.1:PORT\\@public.example/",
        "http://public.example\\@127.0.0.1:PORT/",
        "http:\\\\127.0.0.1:PORT\\",
        "http:/127.0.0.1:PORT/",
        "http:127.0.0.1:PORT/",
        "http:///127.0.0.1:PORT/",
        "  http://127.0.0.1:PORT/  ",
        "ht\ntp://127.0.0.1:PORT/",
        "HTTP://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "127.0.0.1:PORT",
        "http://127.0.0.1:PORT:80/",
        "http://[::1%25lo]:PORT/",
        "http://[::ffff:127.0.0.1%lo]:PORT/",
        "http://127.0.0.1 :PORT/",
        "http://127.0.0.1\t:PORT/",
        "http://127.0.0.1%00.public.example:PORT/",
        "http://127.0.0.256:PORT/",
        "http://0x7f.0.0.0.1:PORT/",
        "http://:PORT/",
        "http://.:PORT/",
        "http://..:PORT/",
        "http://./:PORT",
        "ftp://127.0.0.1:PORT/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/_GET",
        "dict://127.0.0.1:PORT/",
        "unix:/run/x.sock",
        "data:text/plain,x",
        "ws://127.0.0.1:PORT/",
        "blob:http://127.0.0.1:PORT/",
    ] {
        urls.push(odd.replace("PORT", &port.to_string()));
    }
    assert!(urls.len() >= 60, "{}", urls.len());
    for url in &urls {
        let invoked = fetch(&registry, url).await;
        let why = match &invoked {
            Invoked::Failed(failure) => failure["error"].as_str().unwrap_or_default().to_owned(),
            other => panic!("{url}: {other:?}"),
        };
        assert!(!why.is_empty(), "{url}");
        assert_eq!(sentinel.connections(), 0, "{url} reached the sentinel");
    }
}

#[tokio::test]
async fn one_inside_address_among_others_refuses_the_name() {
    // The allowed 127.0.0.2 plays the public address: whatever is broken, nothing leaves the machine.
    let sentinel = Server::start(|_| async {}).await;
    let url = format!("http://mixed.example:{}/", sentinel.address.port());
    let mixtures: [&[&'static str]; 5] = [
        &["127.0.0.2", "127.0.0.1"],
        &["127.0.0.1", "127.0.0.2"],
        &["127.0.0.2", "::1"],
        &["::ffff:127.0.0.2"],
        &["127.0.0.2", "64:ff9b::7f00:1"],
    ];
    for addresses in mixtures {
        let invoked = fetch(&registry(&["127.0.0.2".into()], names(&[addresses])), &url).await;
        assert!(
            matches!(&invoked, Invoked::Failed(f) if f["error"].as_str().unwrap().contains("public internet")),
            "{addresses:?}: {invoked:?}"
        );
    }
    assert_eq!(sentinel.connections(), 0);
}

/// 127.0.0.2 plays the public internet (it is on the allow-list), 127.0.0.1 the inside.
async fn outside(given: impl Fn(&str) -> Vec<u8> + Clone + Send + Sync + 'static) -> Server {
    Server::at("127.0.0.2", move |mut stream| {
        let given = given.clone();
        async move {
            if let Some(request) = read_request(&mut stream).await {
                stream.write_all(&given(&request)).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_for_every_connection_and_looked_up_once_for_each() {
    let outside = outside(|_| answer("200 OK", "", "fine")).await;
    let inside = Server::over(tokio::net::TcpListener::bind(("127.0.0.1", outside.address.port())).await.unwrap(), |_| async {});
    let names = names(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let registry = registry(&["127.0.0.2/32".into()], names.clone());
    let url = format!("http://rebinding.example:{}/", outside.address.port());

    let first = fetch(&registry, &url).await;
    assert!(matches!(&first, Invoked::Ok(page) if page["text"] == "fine"), "{first:?}");
    assert_eq!(*names.asked.lock().unwrap(), 1, "the address that was checked is the address that is used");
    let second = fetch(&registry, &url).await;
    assert!(matches!(second, Invoked::Failed(_)), "{second:?}");
    assert_eq!((outside.connections(), inside.connections(), *names.asked.lock().unwrap()), (1, 0, 2));
}

#[tokio::test]
async fn a_redirect_to_the_inside_is_not_followed() {
    let inside = Server::start(|_| async {}).await;
    let port = inside.address.port();
    for location in [
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://inside.example:{port}/"),
        format!("http://[::1]:{port}/"),
    ] {
        let target = location.clone();
        let outside = outside(move |_| answer("302 X", &format!("location: {target}\r\n"), "")).await;
        let registry = registry(&["127.0.0.2".into()], names(&[&["127.0.0.1"]]));
        let invoked = fetch(&registry, &outside.url("/")).await;
        assert!(
            matches!(&invoked, Invoked::Failed(f) if f["error"].as_str().unwrap().contains("public internet")),
            "{location}: {invoked:?}"
        );
        assert_eq!((outside.connections(), inside.connections()), (1, 0), "{location}");
    }
}

#[tokio::test]
async fn what_the_operator_lists_is_reached_and_only_that() {
    let (listed, other) = (Server::answering(answer("200 OK", "", "in")).await.0, Server::start(|_| async {}).await);
    let allow = [format!("tools.example:{}", listed.address.port()), format!("127.0.0.1:{}", listed.address.port())];
    let registry = registry(&allow, names(&[&["127.0.0.1"]]));
    for host in ["tools.example", "TOOLS.example.", "127.0.0.1", "0x7f.1"] {
        let invoked = fetch(&registry, &format!("http://{host}:{}/#part", listed.address.port())).await;
        assert!(matches!(&invoked, Invoked::Ok(page) if page["text"] == "in"), "{host}: {invoked:?}");
        assert!(matches!(fetch(&registry, &format!("http://{host}:{}/", other.address.port())).await, Invoked::Failed(_)), "{host}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_fetched_page_comes_as_text_or_json_and_its_failures_with_their_status() {
    let pages: [(Vec<u8>, serde_json::Value); 3] = [
        (
            answer("200 OK", "content-type: text/html; charset=utf-8\r\n", "<title>T</title><p>Hello <b>you</b>"),
            json!({ "status": 200, "content_type": "text/html", "text": "T\nHello you" }),
        ),
        (
            answer("200 OK", "content-type: application/json\r\n", "[1]"),
            json!({ "status": 200, "content_type": "application/json", "json": [1] }),
        ),
        (answer("404 Gone", "", "nothing"), json!({ "status": 404, "body": "nothing" })),
    ];
    for (given, mut expected) in pages {
        let outside = outside(move |_| given.clone()).await;
        let registry = registry(&["127.0.0.2".into()], names(&[&[]]));
        let url = outside.url("/page");
        match fetch(&registry, &url).await {
            Invoked::Ok(page) => {
                expected["url"] = json!(url);
                assert_eq!(page, expected);
            }
            Invoked::Failed(failure) => assert_eq!(failure, expected),
            other => panic!("{other:?}"),
        }
    }
}
