//! URLs that nobody trusted wrote, in every spelling, everywhere such a URL can come in: none reaches the inside.
//!
//! A sentinel listens on every address of this machine. All names lead to loopback, so nothing leaves the machine
//! whatever is broken; 127.0.0.2, where it is allowed, plays the public internet.

use crate::{
    bench::{Granted, definition, registration, until},
    server::{Server, answer, invocation, read_request, tool},
};
use async_trait::async_trait;
use maniple_core::Tenant;
use maniple_core::ports::{Invocation, Invoked, Probed, RunCall, ToolRegistry, Tools};
use maniple_core::settings::Period;
use maniple_core::tool::{ToolDefinition, ToolState};
use maniple_registry::{Egress, GatewaySettings, Parts, Registry, egress::Lookup};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_util::sync::CancellationToken;

/// Where a URL comes from that no operator wrote. A new place is a new line here, and one in [`ask`].
const PLACES: [Place; 5] = [Place::Endpoint, Place::EndpointOfGet, Place::Health, Place::Probe, Place::Fetch];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The endpoint of a tool that registered itself, called with POST.
    Endpoint,
    /// The same, called with GET, so that redirects are followed.
    EndpointOfGet,
    /// The `health_url` of one.
    Health,
    /// The `probe_url` of one.
    Probe,
    /// The argument of `http_fetch`.
    Fetch,
}

/// The tool that tells when all others were polled; it takes no answer away.
const LAST: &str = "last.example";

/// Answers every name with the next of its answers, the last one for ever.
struct Names(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name == LAST {
            return Ok(vec!["127.0.0.3".parse().unwrap()]);
        }
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect())
    }
}

async fn registry(allow: &[&str], names: &[&[&'static str]]) -> Arc<Registry> {
    let names = Arc::new(Names(Mutex::new(names.iter().map(|answer| answer.to_vec()).collect())));
    let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
    let parts = Parts {
        store: None,
        limiter: Arc::new(maniple_backends::RateLimiter::new()),
        grants: Arc::new(Granted(vec![])),
        egress: Egress::with_lookup(&allow, names).unwrap(),
        credentials: Default::default(),
        aside: Default::default(),
        settings: GatewaySettings { health_every: Period::ms(20), health_failures: 1, ..GatewaySettings::default() },
    };
    Arc::new(Registry::open(parts).await.unwrap())
}

/// What came of a URL: `Err` says why nothing came of it.
type Asked = Result<(), String>;

/// Has a registry use these URLs, all at this place, each by a tool of its own.
async fn ask(registry: &Arc<Registry>, place: Place, urls: &[String]) -> Vec<Asked> {
    let mut asked = Vec::new();
    for (number, url) in urls.iter().enumerate() {
        let name = format!("t{number}");
        asked.push(match place {
            Place::Endpoint => called(registry, definition(url, json!({ "name": name }))).await,
            Place::EndpointOfGet => called(registry, definition(url, json!({ "name": name, "method": "GET" }))).await,
            Place::Health => registered(registry, json!({ "name": name, "health_url": url })).await.map(drop),
            Place::Probe => match registered(registry, json!({ "name": name, "probe_url": url })).await {
                Ok(tool) => match registry.probe(&untrusted(tool, Value::Null)).await {
                    Probed::Happened(_) | Probed::DidNot => Ok(()),
                    Probed::Unknown => Err("unknown".into()),
                },
                Err(why) => Err(why),
            },
            Place::Fetch => {
                reached(registry.invoke(&RunCall(invocation(tool("builtin:http_fetch", json!({})), json!({ "url": url })))).await)
            }
        });
    }
    if place == Place::Health {
        let health = healths(registry, urls.len()).await;
        asked = asked.into_iter().zip(health).map(|(registered, health)| registered.and(health)).collect();
    }
    asked
}

async fn registered(registry: &Registry, fields: Value) -> Result<ToolDefinition, String> {
    let registration = registration(definition("https://x.example/", fields), "ann");
    registry.register(registration).await.map(|registered| registered.definition).map_err(|error| error.to_string())
}

async fn called(registry: &Registry, definition: Value) -> Asked {
    let registered = registry.register(registration(definition, "ann")).await.map_err(|error| error.to_string())?;
    reached(registry.invoke(&untrusted(registered.definition, json!({}))).await)
}

fn untrusted(tool: ToolDefinition, arguments: Value) -> RunCall {
    RunCall(Invocation { trusted: false, ..invocation(tool, arguments) })
}

/// An answer of somebody else has a status; what the registry says itself has none.
fn reached(invoked: Invoked) -> Asked {
    match invoked {
        Invoked::Ok(_) => Ok(()),
        Invoked::Failed(failure) if failure.get("status").is_some() => Ok(()),
        Invoked::Failed(failure) => Err(failure["error"].as_str().unwrap_or_default().to_owned()),
        Invoked::Refused(refusal) => Err(refusal.message),
        other => panic!("that is no refusal: {other:?}"),
    }
}

/// Polls the health of every tool at least once.
async fn healths(registry: &Arc<Registry>, count: usize) -> Vec<Asked> {
    let (working, stop) = (registry.clone(), CancellationToken::new());
    let stopped = stop.clone();
    let work = tokio::spawn(async move { working.work(stopped).await });
    // Polled together with all others, and after them.
    let well = Server::at("127.0.0.3", |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(&answer("503 X", "", "")).await;
    })
    .await;
    let last = json!({ "name": "last", "health_url": format!("http://{LAST}:{}/", well.address.port()) });
    registered(registry, last).await.unwrap();
    until("all were polled", async || {
        let unhealthy = registry.versions(&Tenant::default(), "last").await.unwrap()[0].instances[0].state == ToolState::Unhealthy;
        unhealthy || well.connections() > 0
    })
    .await;
    stop.cancel();
    work.await.unwrap(); // which ends its round first
    let mut found = Vec::new();
    for name in (0..count).map(|number| format!("t{number}")) {
        found.push(match registry.versions(&Tenant::default(), &name).await {
            Ok(versions) => versions[0].instances[0].reason.clone().map_or(Ok(()), Err),
            Err(error) => Err(error.to_string()),
        });
    }
    found
}

/// Counts every connection to any address of this machine.
async fn sentinel() -> Server {
    let listener = match TcpListener::bind("[::]:0").await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
    };
    Server::over(listener, |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(&answer("200 OK", "", "the inside")).await;
    })
}

fn corpus(port: u16) -> Vec<String> {
    let groups: BTreeMap<String, Vec<String>> = serde_json::from_str(include_str!("ssrf.json")).unwrap();
    groups.into_values().flatten().map(|url| url.replace("PORT", &port.to_string())).collect()
}

#[tokio::test]
async fn no_url_in_any_spelling_reaches_the_inside_from_any_place() {
    let sentinel = sentinel().await;
    let urls = corpus(sentinel.address.port());
    assert!(urls.len() >= 250, "{} URLs", urls.len());
    for place in PLACES {
        let registry = registry(&[], &[&["127.0.0.1"]]).await;
        for (url, asked) in urls.iter().zip(ask(&registry, place, &urls).await) {
            assert!(asked.is_err(), "{place:?}: {url:?} was reached");
        }
        assert_eq!(sentinel.connections(), 0, "{place:?}");
    }
}

#[tokio::test]
async fn the_same_ways_reach_the_inside_where_an_operator_allows_it() {
    for place in PLACES {
        let sentinel = sentinel().await;
        let port = sentinel.address.port();
        let registry = registry(&["127.0.0.0/8"], &[&["127.0.0.1"]]).await;
        let urls = [format!("http://127.0.0.1:{port}/"), format!("http://0x7f.1:{port}/"), format!("http://inside.example:{port}/")];
        let asked = ask(&registry, place, &urls).await;
        assert!(asked.iter().all(Result::is_ok), "{place:?}: {asked:?}");
        assert!(sentinel.connections() >= 3, "{place:?}: {} connections", sentinel.connections());
    }
}

/// A server at 127.0.0.2, which plays the public internet: it answers each path as it is told.
async fn outside(given: impl Fn(&str) -> Vec<u8> + Clone + Send + Sync + 'static) -> Server {
    Server::at("127.0.0.2", move |mut stream| {
        let given = given.clone();
        async move {
            if let Some(request) = read_request(&mut stream).await {
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = stream.write_all(&given(&path)).await;
            }
        }
    })
    .await
}

fn redirect(code: u16, to: &str) -> Vec<u8> {
    answer(&format!("{code} X"), &format!("location: {to}\r\n"), "")
}

#[tokio::test]
async fn no_redirect_of_any_kind_leads_inside() {
    let sentinel = sentinel().await;
    let port = sentinel.address.port();
    let targets: Vec<String> = [
        "http://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "http:\\\\127.0.0.1:PORT\\",
        "http://inside.example:PORT/",
        "http://[::1]:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://2130706433:PORT/",
        "http://x@127.0.0.1:PORT/",
        "https://127.0.0.1:PORT/",
        "ftp://127.0.0.1:PORT/",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
    ]
    .map(|target| target.replace("PORT", &port.to_string()))
    .to_vec();
    for place in PLACES {
        let to = targets.clone();
        // `/302/4/2`: a redirect of that code, by way of two more, to the fourth target.
        let outside = outside(move |path| {
            let mut parts = path.split('?').next().unwrap_or_default().split('/').skip(1).map(|part| part.parse::<usize>().unwrap());
            let (code, target, more) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let next = if more > 0 { format!("/{code}/{target}/{}", more - 1) } else { to[target].clone() };
            redirect(code as u16, &next)
        })
        .await;
        let codes = [301, 302, 303, 307, 308];
        let urls: Vec<String> = codes
            .iter()
            .flat_map(|code| (0..targets.len()).map(move |target| format!("/{code}/{target}/{}", target % 3)))
            .map(|path| outside.url(&path))
            .collect();
        let registry = registry(&["127.0.0.2"], &[&["127.0.0.1"]]).await;
        for (url, asked) in urls.iter().zip(ask(&registry, place, &urls).await) {
            // A POST is answered by the redirect itself: that is an outcome, and nobody follows it.
            assert!(asked.is_err() || place == Place::Endpoint, "{place:?}: {url} was followed");
        }
        assert!(outside.connections() >= urls.len(), "{place:?}: {} connections", outside.connections());
        assert_eq!(sentinel.connections(), 0, "{place:?}");
    }
}

#[tokio::test]
async fn redirects_without_end_are_given_up() {
    for place in PLACES.into_iter().filter(|place| *place != Place::Endpoint) {
        let outside = outside(|path| redirect(302, path)).await;
        let registry = registry(&["127.0.0.2"], &[&["127.0.0.1"]]).await;
        let asked = ask(&registry, place, &[outside.url("/")]).await;
        assert!(asked[0].is_err(), "{place:?}: {asked:?}");
        if place != Place::Health {
            assert_eq!(outside.connections(), 6, "{place:?}: one call and five redirects");
        }
    }
}

#[tokio::test]
async fn a_name_that_turns_inside_after_it_was_looked_up_is_not_followed_there() {
    for place in PLACES {
        let outside = outside(|_| answer("200 OK", "", "fine")).await;
        let port = outside.address.port();
        let inside = Server::over(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), |_| async {});
        let url = format!("http://rebinding.example:{port}/");
        let registry = registry(&["127.0.0.2"], &[&["127.0.0.2"], &["127.0.0.1"]]).await;
        let asked = ask(&registry, place, &[url.clone(), url]).await;
        assert!(asked.iter().any(Result::is_err), "{place:?}: the second look-up was inside: {asked:?}");
        assert_eq!((outside.connections(), inside.connections()), (1, 0), "{place:?}");
    }
}

#[tokio::test]
async fn a_name_with_one_address_inside_is_refused_whatever_else_it_has() {
    let mixtures: [&[&'static str]; 6] = [
        &["127.0.0.2", "127.0.0.1"],
        &["127.0.0.1", "127.0.0.2"],
        &["127.0.0.2", "::1"],
        &["::ffff:127.0.0.2"],
        &["127.0.0.2", "64:ff9b::7f00:1"],
        &["127.0.0.2", "169.254.169.254"],
    ];
    let sentinel = sentinel().await;
    let url = format!("http://mixed.example:{}/", sentinel.address.port());
    for place in PLACES {
        for addresses in mixtures {
            let registry = registry(&["127.0.0.2"], &[addresses]).await;
            let asked = ask(&registry, place, std::slice::from_ref(&url)).await;
            assert!(asked[0].is_err(), "{place:?}: {addresses:?}");
        }
    }
    assert_eq!(sentinel.connections(), 0);
}
