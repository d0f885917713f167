//! Results of pure tools that may be used again for a while.

use super::may_cache;
use maniple_core::{canonical, ports::Invocation};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Bounded by what its results weigh; a result is forgotten early rather than kept too long.
pub(super) struct Cache(moka::future::Cache<String, Kept>);

#[derive(Clone)]
struct Kept {
    result: Arc<Value>,
    until: Instant,
    bytes: u32,
}

/// What a result is kept under, and how long.
pub(super) struct Caching {
    key: String,
    ttl: Duration,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        let cache = moka::future::Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &String, kept: &Kept| kept.bytes.saturating_add(key.len() as u32));
        Self(cache.time_to_live(Duration::from_secs(86_400)).build())
    }

    /// Whether this call's result may be used again: of the same tenant, contract, place and arguments.
    pub(super) fn of(&self, call: &Invocation) -> Option<Caching> {
        let ttl = may_cache(&call.tool)?;
        let key = canonical::hash_bytes(
            canonical::exact(&json!([call.tenant.as_str(), call.tool.contract_hash(), call.tool.endpoint, call.arguments])).as_bytes(),
        );
        Some(Caching { key, ttl })
    }

    pub(super) async fn get(&self, caching: Option<&Caching>) -> Option<Value> {
        let kept = self.0.get(&caching?.key).await.filter(|kept| kept.until > Instant::now());
        metrics::counter!("maniple_tool_cache_total", "outcome" => if kept.is_some() { "hit" } else { "miss" }).increment(1);
        kept.map(|kept| (*kept.result).clone())
    }

    pub(super) async fn put(&self, caching: Caching, result: Value) {
        let bytes = result.to_string().len().min(u32::MAX as usize) as u32;
        let kept = Kept { result: Arc::new(result), until: Instant::now() + caching.ttl, bytes };
        self.0.insert(caching.key, kept).await;
    }
}
