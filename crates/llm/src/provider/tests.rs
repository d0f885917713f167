//! Which provider a name gets, and what a missing key says.

use crate::{Api, Line, Price, ProfileSettings, ProviderSettings, Providers, Scripted, fixture::request, profile::TokensField};
use maniple_core::{
    Kind,
    model::{FaultKind, ModelName},
    ports::{self, Models},
};

fn name(text: &str) -> ModelName {
    ModelName::parse(text).expect("a name")
}
fn with(settings: Vec<(&str, ProviderSettings)>) -> maniple_core::Result<Providers> {
    Providers::with_environment(settings.into_iter().map(|(name, settings)| (name.to_owned(), settings)), |_| None)
}

#[tokio::test]
async fn a_missing_key_is_found_out_by_the_first_call_and_names_what_to_set() {
    let providers = with(vec![]).expect("no settings are good settings");
    for (model, variable) in [("openai/gpt-5-mini", "OPENAI_API_KEY"), ("anthropic/claude-haiku", "ANTHROPIC_API_KEY")] {
        let model = providers.model(&name(model)).expect("a model");
        let fault = model.call(&request("hi"), &mut |_| {}).await.expect_err("no key");
        assert_eq!(fault.kind, FaultKind::Denied);
        assert!(fault.message.contains(&format!("there is no API key: set {variable}")), "{fault}");
    }
}

#[tokio::test]
async fn the_demo_and_a_script_answer_under_their_names() {
    let script = Scripted::new([Line::text("scripted")]);
    let providers = with(vec![("test", ProviderSettings::new(Api::Scripted(script.clone())))]).expect("good settings");
    let said = providers.model(&name("test/any/thing")).expect("a model").call(&request("hi"), &mut |_| {}).await;
    assert_eq!(said.expect("a reply").text.as_deref(), Some("scripted"));
    assert_eq!(script.calls(), 1);
    let demo = providers.model(&name("demo/demo")).expect("a model").call(&request("hi"), &mut |_| {}).await;
    assert!(demo.expect("a reply").text.expect("words").starts_with(crate::demo::PREFIX));
    let anything: std::sync::Arc<dyn Models> = std::sync::Arc::new(script);
    assert!(anything.model(&name("openai/gpt-5-mini")).is_ok());
}

#[test]
fn an_unknown_provider_names_the_known_ones() {
    let error = with(vec![]).expect("good").model(&name("opnai/gpt")).err().expect("unknown");
    assert_eq!(error.kind, Kind::Invalid);
    assert!(error.message.contains("`opnai`") && error.message.contains("anthropic, demo, ollama, openai"), "{error}");
}

#[test]
fn bad_settings_say_which_field() {
    for url in ["localhost:11434/v1", "ftp://a/b", "", "http://"] {
        let mut lab = ProviderSettings::new(Api::OpenAi);
        lab.base_url = Some(url.into());
        assert_eq!(with(vec![("lab", lab)]).err().expect(url).field.as_deref(), Some("models.lab.base_url"), "{url}");
    }
    assert!(with(vec![("a/b", ProviderSettings::new(Api::Demo))]).is_err());
}

#[test]
fn prices_are_those_configured() {
    let price = Price { input: 1.0, cached_input: Some(0.1), output: 4.0 };
    let mut lab = ProviderSettings::new(Api::Demo);
    lab.prices.insert("big/one".into(), price);
    lab.prices.insert("uncached".into(), Price { cached_input: None, ..price });
    let providers = with(vec![("lab", lab)]).expect("good");
    assert_eq!(providers.price(&name("lab/big/one")), Some(ports::Price { input: 1.0, cached_input: 0.1, output: 4.0 }));
    assert_eq!(providers.price(&name("lab/uncached")).map(|price| price.cached_input), Some(1.0), "as input");
    assert_eq!(providers.price(&name("lab/other")), None);
    assert_eq!(providers.price(&name("nobody/other")), None);
}

#[test]
fn addresses_keys_and_profiles_follow_from_the_settings() {
    use super::{Provider, RemoteApi};
    use secrecy::ExposeSecret;
    let settle = |name: &str, api, base: Option<&str>| {
        let settings = ProviderSettings { base_url: base.map(str::to_owned), ..ProviderSettings::new(Api::OpenAi) };
        let variable = |variable: &str| variable.ends_with("_KEY").then(|| format!(" {variable}-value\n"));
        Provider::settle(name, &settings, api, variable).expect("good")
    };
    let openai = settle("openai", RemoteApi::OpenAi, None);
    assert_eq!(openai.url.as_str(), "https://api.openai.com/v1/chat/completions");
    assert_eq!((openai.profile("gpt-4o").tokens, openai.profile("gpt-4o").max_output), (TokensField::MaxCompletionTokens, Some(16_384)));
    assert_eq!(openai.api_key.as_ref().map(|key| key.expose_secret()), Some("OPENAI_API_KEY-value"));
    let lab = settle("lab", RemoteApi::OpenAi, Some("http://127.0.0.1:9100/v1/"));
    assert_eq!((lab.url.as_str(), lab.profile("m1").tokens), ("http://127.0.0.1:9100/v1/chat/completions", TokensField::MaxTokens));
    assert!(lab.api_key.is_none() && !lab.needs_key);
    assert!(!settle("lab", RemoteApi::OpenAi, Some("https://notopenai.com/v1")).needs_key);
    assert_eq!(settle("x", RemoteApi::OpenAi, Some("https://x.openai.azure.com/openai/v1")).key_header, Some("api-key"));
    assert!(!format!("{openai:?}").contains("OPENAI_API_KEY-value"), "a key is never printed");
}

#[test]
fn a_vendors_own_variable_says_where_its_provider_is_and_a_file_has_the_last_word() {
    use super::{Provider, RemoteApi};
    let settle = |name: &str, api, base: Option<&str>| {
        let settings = ProviderSettings { base_url: base.map(str::to_owned), ..ProviderSettings::new(Api::OpenAi) };
        let variable = |variable: &str| {
            variable.ends_with("_BASE_URL").then(|| format!("http://{}.test/v1", variable.to_lowercase().replace('_', "-")))
        };
        Provider::settle(name, &settings, api, variable).expect("good").url.to_string()
    };
    assert_eq!(settle("openai", RemoteApi::OpenAi, None), "http://openai-base-url.test/v1/chat/completions");
    assert_eq!(settle("anthropic", RemoteApi::Anthropic, None), "http://anthropic-base-url.test/v1/messages");
    assert_eq!(settle("openai", RemoteApi::OpenAi, Some("http://own/v1")), "http://own/v1/chat/completions");
    assert_eq!(settle("lab", RemoteApi::OpenAi, None), "https://api.openai.com/v1/chat/completions");
    let error =
        Provider::settle("openai", &ProviderSettings::new(Api::OpenAi), RemoteApi::OpenAi, |_| Some("nowhere".into())).expect_err("no URL");
    assert!(error.message.starts_with("OPENAI_BASE_URL `nowhere` must be"), "{error}");
}

#[test]
fn what_a_model_is_said_to_take_is_over_what_is_known_and_what_is_learnt_is_over_both() {
    use super::{Profile, Provider, RemoteApi};
    let mut settings = ProviderSettings { base_url: Some("http://x/v1".into()), ..ProviderSettings::new(Api::OpenAi) };
    settings.profile.context = Some(9_000);
    settings.models.insert("gpt-4o".into(), ProfileSettings { max_output: Some(5), ..Default::default() });
    let provider = Provider::settle("lab", &settings, RemoteApi::OpenAi, |_| None).expect("good");
    let profile = provider.profile("gpt-4o");
    assert_eq!((profile.max_output, profile.context), (Some(5), Some(9_000)));
    let learnt = Profile { context: Some(1_000), ..profile.clone() };
    assert!(provider.learn("gpt-4o", &profile, &learnt));
    assert_eq!((provider.profile("gpt-4o").context, provider.profile("other").context), (Some(1_000), Some(9_000)));
}

#[test]
fn what_calls_learn_at_the_same_time_is_all_known_and_told_once() {
    use super::{Profile, Provider, RemoteApi};
    let settings = ProviderSettings { base_url: Some("http://x/v1".into()), ..ProviderSettings::new(Api::OpenAi) };
    let provider = Provider::settle("lab", &settings, RemoteApi::OpenAi, |_| None).expect("good");
    let before = provider.profile("m1");
    let without = |member: &str| Profile { left_out: [member.to_owned()].into(), ..before.clone() };
    let word = Profile { tokens: TokensField::MaxCompletionTokens, overhead: 40, ..before.clone() };
    let told: Vec<bool> = [&word, &without("seed"), &without("stop"), &without("seed"), &word]
        .into_iter()
        .map(|after| provider.learn("m1", &before, after))
        .collect();
    assert_eq!(told, [true, true, true, false, false]);
    let known = provider.profile("m1");
    assert_eq!((known.tokens, known.overhead), (TokensField::MaxCompletionTokens, 40));
    assert!(!known.takes("seed") && !known.takes("stop") && known.takes("top_p"));
}

#[test]
fn what_is_wrong_with_a_provider_that_nobody_named_is_said_to_whom_asks_it() {
    let environment = |name: &str| name.ends_with("_BASE_URL").then(|| "nowhere".to_owned());
    let settings =
        [("anthropic".to_owned(), ProviderSettings { base_url: Some("http://own/v1".into()), ..ProviderSettings::new(Api::Anthropic) })];
    let providers = Providers::with_environment(settings, environment).expect("nobody needs openai");
    assert!(providers.model(&name("anthropic/m1")).is_ok() && providers.model(&name("demo/demo")).is_ok());
    let error = providers.model(&name("openai/gpt-5")).err().expect("no address");
    assert!(error.message.starts_with("OPENAI_BASE_URL `nowhere` must be"), "{error}");
    let named = Providers::with_environment([("openai".to_owned(), ProviderSettings::new(Api::OpenAi))], environment);
    assert_eq!(named.err().expect("it is named").field.as_deref(), Some("OPENAI_BASE_URL"));
}

#[test]
fn the_built_in_local_provider_is_shown_tools_as_small_models_take_them() {
    let Some(super::Served::Remote(ollama)) = with(vec![]).expect("good").served.remove("ollama") else { panic!("it is remote") };
    assert!(!ollama.profile("qwen3").shape.lengths);
}
