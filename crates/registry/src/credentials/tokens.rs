//! Tokens of client credentials (RFC 6749, §4.4): fetched once, used until shortly before they expire.

use super::{AuthStyle, Authorization, Oauth2};
use crate::transport::{
    client::{self, LazyClient},
    waits,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope, TokenResponse, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse, BasicTokenType},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{Instant, timeout},
};
use url::Url;

/// How long a token server may take, its connection included.
const FETCH_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a token is used whose server does not say.
const UNSAID: Duration = Duration::from_secs(60);
/// No token is used longer, whatever its server says.
const USED_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long before its end a token is used no more; a quarter of its life where that is less.
const MARGIN: Duration = Duration::from_secs(30);
/// A token younger than this is not thrown away because a tool refuses it.
const YOUNG: Duration = Duration::from_secs(10);
/// The longest time that a token server is left alone because it asks for it.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// The most of a token server's answer that is read.
const ANSWER_MAX: usize = 64 << 10;
/// The most of a server's own words that is passed on.
const WORDS_MAX: usize = 300;

/// The tokens of one credential.
#[derive(Clone)]
pub(super) struct Tokens(Arc<Source>);

struct Source {
    name: String,
    settings: Oauth2,
    url: TokenUrl,
    http: LazyClient,
    held: Arc<Mutex<Held>>,
    /// How many fetches have ended.
    ended: AtomicU64,
    /// How long the server of the fetch under way wants to be left alone.
    wait_ms: AtomicU64,
}

/// Who holds the lock is the one that fetches.
#[derive(Default)]
struct Held {
    token: Option<Token>,
    numbers: u64,
    /// What came of the last fetch, if it failed.
    failed: Option<String>,
    /// Before this its server wants no other one.
    not_before: Option<Instant>,
}

struct Token {
    authorization: Authorization,
    fetched: Instant,
    used_until: Instant,
}

impl Tokens {
    /// An error names the field at fault.
    pub(super) fn new(name: &str, settings: Oauth2) -> Result<Self, (&'static str, String)> {
        let wrong = || ("token_url", "must be an http or https URL without credentials and without a fragment".to_owned());
        let url = Url::parse(&settings.token_url).map_err(|_| wrong())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(wrong());
        }
        if settings.client_id.is_empty() {
            return Err(("client_id", "must not be empty".into()));
        }
        let source = Source {
            name: name.to_owned(),
            url: TokenUrl::from_url(url),
            settings,
            http: LazyClient::new(|| client::builder(CONNECT_MAX)),
            held: Arc::default(),
            ended: AtomicU64::new(0),
            wait_ms: AtomicU64::new(0),
        };
        Ok(Self(Arc::new(source)))
    }

    /// The token at hand, or a new one. All who come while one is fetched wait for it, and share its failure.
    pub(super) async fn token(&self) -> Result<Authorization, String> {
        let ended = self.0.ended.load(Ordering::SeqCst);
        let held = self.0.held.clone().lock_owned().await;
        if let Some(token) = held.token.as_ref().filter(|token| Instant::now() < token.used_until) {
            return Ok(token.authorization.clone());
        }
        let has_just_failed = self.0.ended.load(Ordering::SeqCst) > ended || held.not_before.is_some_and(|then| Instant::now() < then);
        if let Some(failed) = held.failed.as_ref().filter(|_| has_just_failed) {
            return Err(failed.clone());
        }
        // On a task of its own: who asked first may give up before the token is there, and the others still want it.
        let source = self.0.clone();
        let fetched = tokio::spawn(async move { source.fetch(held).await }).await;
        fetched.unwrap_or_else(|_| Err(format!("credential `{}`: fetching its token broke off", self.0.name)))
    }

    /// Whether the next token is another one than this.
    pub(super) async fn invalidate(&self, used: &Authorization) -> bool {
        let mut held = self.0.held.lock().await;
        match &held.token {
            Some(token) if token.authorization.token != used.token => true,
            Some(token) if token.fetched.elapsed() < YOUNG => false,
            Some(_) | None => {
                held.token = None;
                true
            }
        }
    }
}

impl Source {
    async fn fetch(self: Arc<Self>, mut held: OwnedMutexGuard<Held>) -> Result<Authorization, String> {
        let began = Instant::now();
        self.wait_ms.store(0, Ordering::SeqCst);
        let asked = timeout(FETCH_MAX, self.ask()).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH_MAX.as_secs())));
        let fetched = asked.and_then(|answer| self.read(&answer, held.numbers + 1));
        self.ended.fetch_add(1, Ordering::SeqCst);
        match fetched {
            Ok((authorization, used)) => {
                held.numbers += 1;
                (held.failed, held.not_before) = (None, None);
                // From before it was asked for: it was made some time after that.
                held.token = Some(Token { authorization: authorization.clone(), fetched: began, used_until: began + used });
                Ok(authorization)
            }
            Err(why) => {
                let host = self.url.url().host_str().unwrap_or_default();
                let wait = Duration::from_millis(self.wait_ms.load(Ordering::SeqCst)).min(WAIT_MAX);
                held.not_before = (!wait.is_zero()).then(|| Instant::now() + wait);
                let again =
                    if wait.is_zero() { String::new() } else { format!("; it wants to be asked again in {} s", wait.as_secs_f32().ceil()) };
                let why = format!("credential `{}`: no token from {host}: {why}{again}", self.name);
                held.failed = Some(why.clone());
                Err(why)
            }
        }
    }

    async fn ask(self: &Arc<Self>) -> Result<BasicTokenResponse, String> {
        let Oauth2 { client_id, secret, scopes, audience, auth_style, .. } = &self.settings;
        let client = BasicClient::new(ClientId::new(client_id.clone()))
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_token_uri(self.url.clone())
            .set_auth_type(match auth_style {
                AuthStyle::Header => AuthType::BasicAuth,
                AuthStyle::Body => AuthType::RequestBody,
            });
        let mut asking = client.exchange_client_credentials().add_scopes(scopes.iter().cloned().map(Scope::new));
        if let Some(audience) = audience {
            asking = asking.add_extra_param("audience", audience);
        }
        let source = self.clone();
        let send = move |request| {
            let source = source.clone();
            async move { source.send(request).await }
        };
        asking.request_async(&send).await.map_err(|error| self.told(error))
    }

    /// Sends once. No redirect is followed: it would carry the secret to where no operator sent it.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let client = self.http.get().map_err(|_| Failure("no HTTP client could be made just now".into()))?;
        let request = reqwest::Request::try_from(request).map_err(|_| Failure("the request cannot be written".into()))?;
        let mut response = client.execute(request).await.map_err(|error| Failure(client::told(error)))?;
        let status = response.status();
        if matches!(status.as_u16(), 429 | 503) {
            let wait = waits::wait(response.headers()).unwrap_or_default();
            self.wait_ms.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Failure(client::told(error)))? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(Failure(format!("its answer is longer than {ANSWER_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Option<Value> = serde_json::from_slice(&body).ok().filter(Value::is_object);
        let Some(mut answer) = answer else { return Err(Failure(format!("it answers {}, and not in JSON", status.as_u16()))) };
        if !status.is_success() && !answer["error"].is_string() {
            return Err(Failure(format!("it answers {} without saying why", status.as_u16())));
        }
        // Some servers write the number of seconds as a text.
        if let Some(seconds) = answer["expires_in"].as_str().and_then(|text| text.parse::<u64>().ok()) {
            answer["expires_in"] = seconds.into();
        }
        let mut read = HttpResponse::new(answer.to_string().into_bytes());
        *read.status_mut() = status;
        Ok(read)
    }

    fn read(&self, answer: &BasicTokenResponse, number: u64) -> Result<(Authorization, Duration), String> {
        if *answer.token_type() != BasicTokenType::Bearer {
            return Err("it gives a token of another type than bearer".into());
        }
        let secret: SecretString = answer.access_token().secret().clone().into();
        let authorization = Authorization::bearer(&secret, number).ok_or("its token is no text for a header")?;
        let life = answer.expires_in().unwrap_or(UNSAID).min(USED_MAX);
        Ok((authorization, life - MARGIN.min(life / 4)))
    }

    /// Why there is no token, in words without a secret.
    fn told(&self, error: RequestTokenError<Failure, BasicErrorResponse>) -> String {
        let why = match error {
            RequestTokenError::Request(failure) => failure.0,
            RequestTokenError::ServerResponse(refusal) => match refusal.error_description() {
                Some(description) => format!("it refuses: {}: {description}", refusal.error().as_ref()),
                None => format!("it refuses: {}", refusal.error().as_ref()),
            },
            // What it says there may be the token.
            RequestTokenError::Parse(error, _) => format!("its answer is no token: look at its `{}`", error.path()),
            RequestTokenError::Other(why) => why,
        };
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect();
        if self.secrets().iter().any(|secret| why.contains(secret.as_str())) {
            "it refuses, in words that hold the secret".into()
        } else {
            why
        }
    }

    /// The secret, as it is and as it is sent.
    fn secrets(&self) -> [String; 3] {
        let (id, secret) = (&self.settings.client_id, self.settings.secret.expose_secret());
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = BASE64_STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        [secret.to_owned(), encode(secret), basic]
    }
}

/// Why no answer came, in words without a secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);
