//! Credentials on the wire: what is sent where, what is fetched how often, and what nobody reads.

use super::*;
use crate::{
    Egress,
    transport::{client::Client, http::Transport},
};
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use maniple_core::{
    AgentName, Tenant,
    ports::{Invocation, Probed},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore, time};

const SECRET: &str = "s3cr&t/key";

/// What a server read: method, path with query, headers, body.
type Seen = (Method, String, HeaderMap, String);

/// A server that answers as it is told and remembers what it was asked.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start<R: IntoResponse + 'static>(ip: &str, answer: impl Fn(usize, &Seen) -> R + Clone + Send + Sync + 'static) -> Self {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self::behind(ip, gate, answer).await
    }
    /// Each answer takes a permit.
    async fn behind<R: IntoResponse + 'static>(
        ip: &str,
        gate: Arc<Semaphore>,
        answer: impl Fn(usize, &Seen) -> R + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Seen>>>::default());
        let log = seen.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let (gate, answer, log) = (gate.clone(), answer.clone(), log.clone());
            async move {
                let request = (method, uri.to_string(), headers, String::from_utf8_lossy(&body).into_owned());
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(request.clone());
                    log.len()
                };
                gate.acquire().await.unwrap().forget();
                answer(number, &request).into_response()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen }
    }
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
    async fn has_seen(&self, count: usize) {
        while self.count() < count {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A token server whose tokens are `token-1`, `token-2` …
async fn token_server(expires_in: Value) -> Server {
    Server::start("127.0.0.1", move |number, _| token(number, &expires_in)).await
}
fn token(number: usize, expires_in: &Value) -> Response {
    let answer = json!({ "access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": expires_in });
    axum::Json(answer).into_response()
}
fn redirect(to: String) -> Response {
    (StatusCode::FOUND, [("location", to)]).into_response()
}

fn secret() -> SecretString {
    SECRET.to_owned().into()
}
fn key_in(place: Place, prefix: &str, hosts: &[String]) -> Credential {
    Credential {
        kind: CredentialKind::ApiKey { place, prefix: prefix.into(), secret: secret() },
        hosts: hosts.to_vec(),
        users: [Realm::Node].into(),
    }
}
fn oauth2(token_url: String) -> Oauth2 {
    Oauth2 { token_url, client_id: "me".into(), secret: secret(), scopes: vec![], audience: None, auth_style: AuthStyle::Header }
}
fn credentials(credential: Credential) -> Credentials {
    Credentials::new(BTreeMap::from([("c".to_owned(), credential)])).unwrap()
}
/// One whose tokens are for x.test.
fn tokens_of(oauth2: Oauth2) -> Arc<Credentials> {
    Arc::new(credentials(Credential { kind: CredentialKind::Oauth2(oauth2), hosts: vec!["x.test".into()], users: [Realm::Node].into() }))
}
fn tool_url() -> Url {
    Url::parse("https://x.test/").unwrap()
}
async fn bearer(credentials: &Credentials) -> Result<String, Unauthorized> {
    let authorization = credentials.authorize("c", &Realm::Node, &tool_url()).await?;
    let mut headers = HeaderMap::new();
    authorization.sign(&mut headers);
    Ok(headers["authorization"].to_str().unwrap().to_owned())
}
async fn advance(by: Duration) {
    // Paused only for the moment: a paused clock runs ahead whenever only a socket is waited for.
    time::pause();
    time::advance(by).await;
    time::resume();
}
fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Calls a tool at this endpoint, as the credential `c` says.
async fn call(credentials: &Credentials, fields: Value, arguments: Value) -> Invoked {
    let call = invocation(fields, arguments);
    let who = credentials.authorize("c", &Realm::Node, &Url::parse(&call.tool.endpoint).unwrap()).await.unwrap();
    let egress = Egress::new(&["127.0.0.0/8".into()]).unwrap();
    Transport::new(Arc::new(Client::new(egress)), Default::default()).call_as(&call, &who).await
}
fn invocation(fields: Value, arguments: Value) -> Invocation {
    let mut definition = json!({ "name": "t", "version": "1.0.0", "description": "d", "method": "GET" });
    definition.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let tool: ToolDefinition = serde_json::from_value(definition).unwrap();
    Invocation {
        trusted: true,
        send: "s".into(),
        arguments,
        key: "k".into(),
        agent: AgentName::parse("a").unwrap(),
        tenant: Tenant::default(),
        agreed: None,
        trace: None,
        timeout: seconds(10),
        tool: Arc::new(tool),
    }
}

#[tokio::test]
async fn a_question_about_a_call_in_doubt_shows_the_key_where_the_call_would() {
    let (tool, elsewhere) = (Server::start("127.0.0.1", |_, _| "7").await, Server::start("127.0.0.1", |_, _| "7").await);
    let credentials = Arc::new(credentials(key_in(Place::Header("X-Api-Key".into()), "", &[tool.address.to_string()])));
    let transports =
        crate::Transports::new(Egress::new(&[]).unwrap(), credentials, Default::default(), maniple_aside::Shares::of(10, false));
    for (server, shown) in [(&tool, true), (&elsewhere, false)] {
        let call = invocation(json!({ "endpoint": tool.url("/x"), "credential": "c", "probe_url": server.url("/probe") }), json!({}));
        assert_eq!(transports.probe(&server.url("/probe"), &call, &Realm::Node).await, Probed::Happened(json!("7")));
        assert_eq!(server.seen()[0].2.contains_key("x-api-key"), shown);
        assert_eq!(server.seen()[0].1, "/probe?key=k");
    }
}

#[tokio::test]
async fn a_key_arrives_where_it_belongs_and_in_no_answer() {
    let server = Server::start("127.0.0.1", |_, _| "fine").await;
    let hosts = [server.address.to_string()];
    for (place, prefix) in
        [(Place::Header("X-Api-Key".into()), ""), (Place::Header("Authorization".into()), "Bearer "), (Place::Query("key".into()), "")]
    {
        let credentials = credentials(key_in(place, prefix, &hosts));
        let answer = call(&credentials, json!({ "endpoint": server.url("/x") }), json!({ "a": 1, "key": "mine" })).await;
        assert_eq!(answer, Invoked::Ok(json!("fine")));
    }
    let seen = server.seen();
    assert_eq!((&seen[0].1, &seen[0].2["x-api-key"]), (&"/x?a=1&key=mine".to_owned(), &SECRET.parse().unwrap()));
    assert_eq!(seen[1].2["authorization"], format!("Bearer {SECRET}"));
    assert_eq!((seen[2].1.as_str(), seen[2].2.get("x-api-key")), ("/x?a=1&key=s3cr%26t%2Fkey", None));
}

#[tokio::test]
async fn a_redirect_takes_no_credential_to_another_origin_nor_back_from_there() {
    for in_query in [false, true] {
        let elsewhere_at = Arc::new(Mutex::new(String::new()));
        let known = elsewhere_at.clone();
        let home = Server::start("127.0.0.1", move |_, (_, path, _, _)| {
            let elsewhere = known.lock().unwrap().clone();
            match path.split('?').next().unwrap() {
                "/start" => redirect("/same-origin".into()),
                // As bad as a server can be: it puts the key into the redirect itself.
                "/same-origin" => redirect(format!("{elsewhere}/away?key=s3cr%26t%2Fkey&b=2")),
                _ => "back home".into_response(),
            }
        })
        .await;
        let back = home.url("/back");
        let elsewhere = Server::start("127.0.0.2", move |_, _| redirect(back.clone())).await;
        *elsewhere_at.lock().unwrap() = elsewhere.url("");

        let place = if in_query { Place::Query("key".into()) } else { Place::Header("X-Api-Key".into()) };
        let credentials = credentials(key_in(place, "", &[home.address.to_string()]));
        let answer = call(&credentials, json!({ "endpoint": home.url("/start") }), json!({})).await;
        assert_eq!(answer, Invoked::Ok(json!("back home")));

        let signed = |(_, path, headers, _): &Seen| path.contains("s3cr") || headers.contains_key("x-api-key");
        assert_eq!(home.seen().iter().map(signed).collect::<Vec<_>>(), [true, true, false], "{:?}", home.seen());
        // Stripped where the key is in the query; where it is in a header nobody knows that text for a secret of ours.
        assert_eq!(elsewhere.seen()[0].1, if in_query { "/away?b=2" } else { "/away?key=s3cr%26t%2Fkey&b=2" });
        assert!(!elsewhere.seen()[0].2.contains_key("x-api-key"));
        assert_eq!(elsewhere.seen()[0].2["idempotency-key"], "k");
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_does_not_tell_the_key() {
    let server = Server::start("127.0.0.1", |_, (_, path, _, _)| redirect(format!("http://127.0.0.2:1{path}"))).await;
    let credentials = credentials(key_in(Place::Query("key".into()), "", &[server.address.to_string()]));
    let answer = call(&credentials, json!({ "endpoint": server.url("/x"), "method": "POST" }), json!({})).await;
    assert!(server.seen()[0].1.contains("s3cr"), "it was sent");
    assert!(matches!(&answer, Invoked::Failed(failure) if failure["status"] == 302), "{answer:?}");
    assert!(!format!("{answer:?}").contains("s3cr"), "{answer:?}");
}

#[tokio::test]
async fn nothing_is_sent_to_a_host_that_is_not_listed_and_no_token_is_fetched_for_it() {
    let server = token_server(json!(3600)).await;
    let credentials = tokens_of(oauth2(server.url("/token")));
    for (name, url, told) in [
        ("c", "https://evil.test/", "add `evil.test` to its hosts"),
        ("c", "https://x.test:444/", "add `x.test:444` to its hosts"),
        ("d", "https://x.test/", "there is no credential `d`: maniple.yaml has c"),
    ] {
        let refused = credentials.authorize(name, &Realm::Node, &Url::parse(url).unwrap()).await.unwrap_err();
        assert!(matches!(&refused, Unauthorized::Forbidden(why) if why.contains(told)), "{refused}");
        assert!(matches!(Invoked::from(refused), Invoked::Refused(Refusal { kind: RefusalKind::Forbidden, .. })));
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_definition_may_use_a_credential_of_its_kind_for_its_hosts() {
    let credentials = credentials(key_in(Place::Header("x".into()), "", &["x.test".into()]));
    let tool = |credential: &str, auth_type: &str, endpoint: &str| -> ToolDefinition {
        let tool = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": endpoint, "auth_type": auth_type, "credential": credential });
        serde_json::from_value(tool).unwrap()
    };
    let users_tool = tool("c", "api_key", "https://x.test/users/{id}");
    credentials.check(&users_tool, &Realm::Node).unwrap();
    let stranger = credentials.check(&users_tool, &Realm::Of(Tenant::default())).unwrap_err();
    assert_eq!((stranger.field.as_deref(), stranger.message.contains("x.test")), (Some("credential"), false), "{stranger}");
    for (tool, field, told) in [
        (tool("d", "api_key", "https://x.test/"), "credential", "no credential `d`: maniple.yaml has c"),
        (tool("c", "oauth2", "https://x.test/"), "auth_type", "`auth_type: api_key`"),
        (tool("c", "api_key", "https://y.test/"), "endpoint", "add `y.test` to its hosts"),
        (tool("c", "api_key", "builtin:clock"), "endpoint", "has no host"),
    ] {
        let error = credentials.check(&tool, &Realm::Node).unwrap_err();
        assert_eq!(error.field.as_deref(), Some(field));
        assert!(error.message.contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_operator_says() {
    let server = token_server(json!(3600)).await;
    let header =
        Oauth2 { scopes: vec!["read".into(), "write".into()], audience: Some("https://x.test".into()), ..oauth2(server.url("/token")) };
    let body = Oauth2 { auth_style: AuthStyle::Body, ..oauth2(server.url("/token")) };
    for settings in [header, body] {
        bearer(&tokens_of(settings)).await.unwrap();
    }
    let seen = server.seen();
    assert_eq!(seen[0].2["authorization"], "Basic bWU6czNjciUyNnQlMkZrZXk=");
    assert_eq!(seen[0].3, "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Fx.test");
    assert_eq!(
        (seen[1].2.get("authorization"), seen[1].3.as_str()),
        (None, "grant_type=client_credentials&client_id=me&client_secret=s3cr%26t%2Fkey")
    );
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_who_want_it_and_again_shortly_before_it_expires() {
    for (expires_in, used) in [(json!(3600), 3570), (json!("100"), 75), (json!(null), 45), (json!(u64::MAX), 86_370)] {
        let server = token_server(expires_in.clone()).await;
        let credentials = tokens_of(oauth2(server.url("/token")));
        let wanted = join_all((0..100).map(|_| bearer(&credentials))).await;
        assert!(wanted.iter().all(|token| *token == Ok("Bearer token-1".into())), "{wanted:?}");
        assert_eq!(server.count(), 1);
        advance(seconds(used - 2)).await;
        assert_eq!(bearer(&credentials).await.unwrap(), "Bearer token-1", "{expires_in}");
        advance(seconds(3)).await;
        assert_eq!(bearer(&credentials).await.unwrap(), "Bearer token-2", "{expires_in}");
    }
}

#[tokio::test]
async fn who_waits_for_a_token_gets_it_though_the_first_to_ask_gave_up() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::behind("127.0.0.1", gate.clone(), |number, _| token(number, &json!(3600))).await;
    let credentials = tokens_of(oauth2(server.url("/token")));
    let asking = credentials.clone();
    let first = tokio::spawn(async move { bearer(&asking).await });
    server.has_seen(1).await;
    let asking = credentials.clone();
    let second = tokio::spawn(async move { bearer(&asking).await });
    first.abort();
    assert!(first.await.is_err());
    gate.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap(), "Bearer token-1");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn all_who_wait_share_a_failure_and_who_comes_later_asks_again() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::behind("127.0.0.1", gate.clone(), |number, _| match number {
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => token(number, &json!(3600)),
    })
    .await;
    let credentials = tokens_of(oauth2(server.url("/token")));
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let credentials = credentials.clone();
            tokio::spawn(async move { bearer(&credentials).await })
        })
        .collect();
    server.has_seen(1).await;
    gate.add_permits(100);
    for asked in asking {
        let refused = asked.await.unwrap().unwrap_err();
        assert_eq!(refused, Unauthorized::NoToken("credential `c`: no token from 127.0.0.1: it answers 503, and not in JSON".into()));
        assert!(matches!(Invoked::from(refused), Invoked::NotSent(_)));
    }
    assert_eq!(server.count(), 1);
    assert_eq!(bearer(&credentials).await.unwrap(), "Bearer token-2");
}

#[tokio::test]
async fn a_token_that_a_tool_refuses_is_thrown_away_once() {
    let server = token_server(json!(3600)).await;
    let credentials = tokens_of(oauth2(server.url("/token")));
    let used = credentials.authorize("c", &Realm::Node, &tool_url()).await.unwrap();
    assert!(!credentials.invalidate("c", &used).await, "a tool that refuses a new token refuses the next one too");
    advance(seconds(11)).await;
    assert_eq!(bearer(&credentials).await.unwrap(), "Bearer token-1");
    assert!(credentials.invalidate("c", &used).await);
    assert_eq!(bearer(&credentials).await.unwrap(), "Bearer token-2");
    advance(seconds(11)).await;
    assert!(credentials.invalidate("c", &used).await, "there is another one already");
    assert_eq!(bearer(&credentials).await.unwrap(), "Bearer token-2");
    assert!(!self::credentials(key_in(Place::Header("x".into()), "", &["x.test".into()])).invalidate("c", &used).await);
}

/// Collects everything that is logged, at any level.
struct Log(Arc<Mutex<String>>);
impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?}\n"));
    }
}
impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Log(self.0.clone()));
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Log(self.0.clone()));
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Log(self.0.clone()));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn no_error_no_log_and_no_debug_print_holds_a_secret() {
    let log = Arc::new(Mutex::new(String::new()));
    let listening = tracing::subscriber::set_default(Log(log.clone()));
    tracing::info!(check = "the log is read");
    let said = |status: u16, body: Value| (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    type Answer = Arc<dyn Fn() -> Response + Send + Sync>;
    let answers: [(&str, Answer); 10] = [
        (
            "in words that hold the secret",
            Arc::new(move || said(400, json!({ "error": "invalid_client", "error_description": format!("no: {SECRET}") }))),
        ),
        (
            "in words that hold the secret",
            Arc::new(move || said(401, json!({ "error": "invalid_client", "error_description": "Basic bWU6czNjciUyNnQlMkZrZXk=" }))),
        ),
        ("in words that hold the secret", Arc::new(move || said(400, json!({ "error": "client_secret=s3cr%26t%2Fkey" })))),
        (
            "it refuses: invalid_scope: no  such scope",
            Arc::new(move || said(400, json!({ "error": "invalid_scope", "error_description": "no\n such scope" }))),
        ),
        ("another type", Arc::new(move || said(200, json!({ "access_token": "t0ken", "token_type": "mac" })))),
        ("look at its `", Arc::new(move || said(200, json!({ "access_token": ["t0ken"], "token_type": "bearer" })))),
        ("no text for a header", Arc::new(move || said(200, json!({ "access_token": "t0ken\n", "token_type": "bearer" })))),
        ("not in JSON", Arc::new(|| "t0ken".into_response())),
        ("longer than 65536 bytes", Arc::new(|| "t0ken".repeat(20_000).into_response())),
        ("answers 302", Arc::new(|| redirect("http://127.0.0.1:1/?t0ken".into()))),
    ];
    let mut text = String::new();
    for (told, answer) in answers {
        let server = Server::start("127.0.0.1", move |_, _| answer()).await;
        let credentials = tokens_of(oauth2(server.url("/token")));
        let error = bearer(&credentials).await.unwrap_err();
        assert!(error.to_string().contains(told), "{told}: {error}");
        text += &format!("{error} {error:?} {credentials:?}\n");
    }
    let server = Server::start("127.0.0.1", |_, _| StatusCode::UNAUTHORIZED).await;
    for place in [Place::Header("X-Api-Key".into()), Place::Query("key".into())] {
        let credential = key_in(place, "", &[server.address.to_string()]);
        text += &format!("{credential:?} {:?}", oauth2("http://x.test/".into()));
        let credentials = credentials(credential);
        text += &format!("{:?}", call(&credentials, json!({ "endpoint": server.url("/") }), json!({})).await);
        let nobody = format!("http://{}/", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
        let credentials = self::credentials(key_in(Place::Query("key".into()), "", &[nobody[7..nobody.len() - 1].to_owned()]));
        text += &format!("{:?}", call(&credentials, json!({ "endpoint": nobody }), json!({})).await);
    }
    drop(listening);
    text += &log.lock().unwrap();
    assert!(text.contains("the log is read") && text.contains("NotSent") && text.contains("401"), "{text}");
    for secret in ["s3cr", "t0ken", "bWU6"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is told");
    }
}

#[tokio::test]
async fn a_token_server_that_does_not_answer_is_given_up_after_ten_seconds() {
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::behind("127.0.0.1", gate, |number, _| token(number, &json!(3600))).await;
    let credentials = tokens_of(oauth2(server.url("/token")));
    let asking = tokio::spawn(async move { bearer(&credentials).await });
    server.has_seen(1).await;
    advance(seconds(11)).await;
    let refused = asking.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("no answer within 10 s"), "{refused}");
}

#[test]
fn a_credential_that_could_not_work_is_refused_with_its_name_and_field() {
    let hosts = vec!["x.test".to_owned()];
    let key = |place: Place, prefix: &str, secret: &str| Credential {
        kind: CredentialKind::ApiKey { place, prefix: prefix.into(), secret: secret.to_owned().into() },
        hosts: hosts.clone(),
        users: [Realm::Node].into(),
    };
    let oauth2 =
        |settings: Oauth2| Credential { kind: CredentialKind::Oauth2(settings), hosts: hosts.clone(), users: [Realm::Node].into() };
    let header = || Place::Header("x-key".into());
    for (field, told, credential) in [
        ("for", "lists nobody", Credential { users: [].into(), ..key(header(), "", "k3y") }),
        ("hosts", "1 to 64 hosts", Credential { hosts: vec![], ..key(header(), "", "k3y") }),
        ("hosts", "`https://x.test`", Credential { hosts: vec!["https://x.test".into()], ..key(header(), "", "k3y") }),
        ("header", "no header name", key(Place::Header("a b".into()), "", "k3y")),
        ("header", "not for keys", key(Place::Header("Host".into()), "", "k3y")),
        ("query", "must name", key(Place::Query(String::new()), "", "k3y")),
        ("prefix", "no text for a header", key(header(), "a\nb", "k3y")),
        ("secret", "is empty", key(header(), "", "")),
        ("secret", "a line break", key(header(), "", "k3y\n")),
        ("secret", "longer than 8192", key(header(), "", &"k3y".repeat(3_000))),
        ("secret", "a line break", oauth2(Oauth2 { secret: "k3y\n".to_owned().into(), ..self::oauth2("https://x.test/".into()) })),
        ("token_url", "must be an http", oauth2(self::oauth2("x.test/token".into()))),
        ("token_url", "without credentials", oauth2(self::oauth2("https://a:b@x.test/token".into()))),
        ("client_id", "must not be empty", oauth2(Oauth2 { client_id: String::new(), ..self::oauth2("https://x.test/".into()) })),
    ] {
        let error = Credentials::new(BTreeMap::from([("c".to_owned(), credential)])).expect_err(told);
        assert_eq!(error.field.as_deref(), Some(format!("credentials.c.{field}").as_str()), "{error}");
        assert!(error.message.starts_with(&format!("credentials.c.{field} ")) && error.message.contains(told), "{error}");
        assert!(!error.message.contains("k3y"), "{error}");
    }
}
