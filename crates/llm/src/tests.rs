//! Both APIs over real connections, against a server that does exactly what it is told.

mod server;
mod wire;

use crate::{Api, ProviderSettings, Providers};
use maniple_core::{
    message::ModelReply,
    model::{CallTimes, Fault, ModelName, ModelRequest},
    ports::Models,
};
use server::Server;
use std::time::Duration;

const KEY: &str = "sk-very-secret-key";

/// Settings of a provider `lab` at that server.
fn lab(api: Api, server: &Server) -> ProviderSettings {
    let mut lab = ProviderSettings::new(api);
    lab.base_url = Some(format!("{}/v1", server.url()));
    lab.api_key = Some(KEY.into());
    lab
}

fn providers(settings: ProviderSettings) -> Providers {
    Providers::with_environment([("lab".to_owned(), settings)], |_| None).expect("good settings")
}

/// One call, and the text that was heard.
async fn call(providers: &Providers, request: &ModelRequest) -> (Result<ModelReply, Fault>, String) {
    let mut heard = String::new();
    let model = providers.model(&ModelName::parse("lab/m1").expect("a name")).expect("a model");
    let reply = model.call(request, &mut |text| heard.push_str(text)).await;
    (reply, heard)
}

/// Times that a test can wait for.
fn short() -> CallTimes {
    let long = Duration::from_secs(20);
    CallTimes { first_byte: long, between_chunks: long, bytes_a_minute: 0, whole: long }
}
