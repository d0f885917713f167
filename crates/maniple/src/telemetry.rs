//! Logs, spans and metrics of the process: what is written where, decided once at the start.

mod help;
mod lines;
mod roots;
mod settings;

pub use settings::{LogFormat, TelemetrySettings};

use anyhow::Context as _;
use lines::OneLine;
use maniple_core::trace::TraceContext;
use maniple_runtime::spans::Tracing;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    Array, Context, KeyValue, StringValue, Value,
    propagation::TextMapPropagator,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    runtime::Tokio,
    trace::{Sampler, SdkTracerProvider, span_processor_with_async_runtime::BatchSpanProcessor},
};
use std::{collections::HashMap, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The MCP library tells of every handshake, and further down of arguments: it speaks only where a level names it. The driver of Postgres
/// passes on as information what the server notices of statements, which is of no use to whoever runs a node.
const QUIETER: &str = "rmcp=off,tokio_postgres=warn";

/// What was set up; ask it to flush before the process ends.
pub struct Installed {
    provider: Option<SdkTracerProvider>,
    /// Renders the metrics of this process.
    pub metrics: PrometheusHandle,
    /// Ties runs to traces from outside.
    pub tracing: Tracing,
}

/// Installs logs, spans and metrics. To be called once, inside the async runtime.
///
/// `RUST_LOG` overrides the level. Logs go to standard error, so that answers on standard output stay clean.
pub fn install(settings: &TelemetrySettings, quiet: bool) -> anyhow::Result<Installed> {
    let level = if quiet { "warn" } else { settings.level.as_str() };
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(format!("{QUIETER},{level}")));
    let filter = filter.context("telemetry.level is no log filter")?;
    let coloured = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let logs = match settings.log {
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .with_writer(move || OneLine::of(std::io::stderr(), coloured))
            .with_ansi(coloured)
            .with_target(false)
            .compact()
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
    };
    let provider = settings.otlp_endpoint.as_deref().map(|endpoint| exporter(endpoint, settings.sample_ratio)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let only_ours = EnvFilter::new("off,maniple_runtime=info");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("maniple")).with_filter(only_ours)
    });
    // A second node in one process (a test, a command without a node) keeps the first one's logs.
    let _ = tracing_subscriber::registry().with(spans).with(logs.with_filter(filter)).try_init();
    let tracing = if provider.is_some() { Tracing { adopt, context, list } } else { Tracing::default() };
    Ok(Installed { provider, metrics: metrics()?, tracing })
}

/// The text of `/metrics`. What costs is a sum of fractions, which the recorder knows as a gauge only; it never falls.
pub fn rendered(metrics: &PrometheusHandle) -> String {
    metrics.render().replace("# TYPE maniple_cost_usd_total gauge", "# TYPE maniple_cost_usd_total counter")
}

/// How often histograms are folded.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Folds histograms until `stop`: the recorder keeps every sample until somebody does, scraped or not.
pub async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP_EVERY) => metrics.run_upkeep(),
            () = stop.cancelled() => return,
        }
    }
}

impl Installed {
    /// Sends what is still to be sent.
    pub fn flush(&self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

fn exporter(endpoint: &str, ratio: f64) -> anyhow::Result<SdkTracerProvider> {
    let traces = format!("{}/v1/traces", endpoint.trim_end_matches('/').trim_end_matches("/v1/traces"));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces)
        .build()
        .context("telemetry.otlp_endpoint cannot be used")?;
    let resource = Resource::builder()
        .with_service_name("maniple")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    // Remote decisions are honoured; what begins here is sampled by the ratio.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build())
        .with_sampler(sampler)
        .with_id_generator(roots::Ids::default())
        .with_resource(resource)
        .build())
}

/// The recorder of the process; a second node in one process shares it.
fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: std::sync::Mutex<Option<PrometheusHandle>> = std::sync::Mutex::new(None);
    let mut installed = HANDLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let seconds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
    let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".into()), &sizes))
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics cannot be recorded")?;
    help::describe();
    *installed = Some(handle.clone());
    Ok(handle)
}

/// The first span of a trace that begins here has no parent: nobody would export it.
fn adopt(span: &Span, trace: &TraceContext) {
    if trace.begun_here {
        // Looked at, the span begins.
        return roots::named(trace.trace_id(), || drop(span.context()));
    }
    let mut carrier = HashMap::from([(String::from("traceparent"), trace.traceparent.clone())]);
    carrier.extend(trace.tracestate.clone().map(|state| (String::from("tracestate"), state)));
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let _ = span.set_parent(parent);
}

fn list(span: &Span, name: &'static str, values: &[&str]) {
    let values = values.iter().map(|value| StringValue::from((*value).to_owned())).collect();
    span.set_attribute(name, Value::Array(Array::String(values)));
}

fn context(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier: HashMap<String, String> = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    TraceContext::parse(carrier.get("traceparent")?, carrier.get("tracestate").map(String::as_str))
}
