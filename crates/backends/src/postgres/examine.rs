//! Whether a database is as a fleet needs it.

use super::{failure::failed, link, schema};
use crate::{
    BusUrl, Options,
    clock::{Clock, SystemClock},
};
use maniple_core::finding::Finding;
use std::time::{Duration, Instant};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, config::SslMode};

/// How far the two clocks may be apart without a word.
const SKEW_MAX: Duration = Duration::from_secs(1);
/// The oldest server that was tried.
const OLDEST: i64 = 15;
/// How long a notification may take to come back.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// A transaction that is open for so long keeps autovacuum from its work.
const LONG: &str = "1 hour";

/// Looks at the database and at the ways to it.
pub(crate) async fn examine(url: &str, options: &Options) -> Vec<Finding> {
    let mut findings = Vec::new();
    let began = Instant::now();
    match connect(url).await {
        Err(error) => {
            let shown = crate::StoreUrl::Postgres(url.to_owned());
            findings.push(Finding::failed("store", format!("{shown}: {}", error.message), "correct `store`, or start the database"));
        }
        Ok(client) => {
            findings.push(Finding::ok("store", format!("it answers, {} ms from here", began.elapsed().as_millis())));
            if let Err(error) = look(&client, options, &mut findings).await {
                findings.push(Finding::failed("database", failed(error).message, "let the store's user read the database's settings"));
            }
        }
    }
    match &options.bus {
        BusUrl::Local | BusUrl::Postgres => findings.push(bus(url).await),
        BusUrl::PostgresAt(direct) => findings.push(bus(direct).await),
        #[cfg(feature = "redis")]
        BusUrl::Redis(place) => findings.push(crate::redis::examine(place).await),
    }
    findings
}

async fn bus(url: &str) -> Finding {
    match hears(url).await {
        Ok(true) => Finding::ok("bus", "what is told by NOTIFY is heard"),
        Ok(false) => Finding::warning(
            "bus",
            "what is told by NOTIFY does not come back, as through a pooler: processes see what others do a second later, by looking",
            "set `bus` to the database's own URL",
        ),
        Err(error) => Finding::warning("bus", error.message, "correct `bus`: without it processes see what others do a second later"),
    }
}

async fn connect(url: &str) -> maniple_core::Result<Client> {
    let config = link::config(url)?;
    macro_rules! over {
        ($tls:expr) => {{
            let (client, connection) = config.connect($tls).await.map_err(failed)?;
            tokio::spawn(connection);
            client
        }};
    }
    Ok(match config.get_ssl_mode() {
        SslMode::Disable => over!(NoTls),
        _ => over!(link::tls()?),
    })
}

async fn look(client: &Client, options: &Options, findings: &mut Vec<Finding>) -> Result<(), tokio_postgres::Error> {
    let text = async |sql: &str| -> Result<String, tokio_postgres::Error> {
        Ok(client.query_typed(sql, &[]).await?.first().and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or_default())
    };
    let setting = async |name: &str| text(&format!("SELECT current_setting('{name}')")).await;
    let number = |text: String| text.parse::<i64>().unwrap_or(0);

    let version = number(setting("server_version_num").await?) / 10_000;
    findings.push(match version {
        OLDEST.. => Finding::ok("version", format!("PostgreSQL {version}")),
        _ => Finding::warning("version", format!("PostgreSQL {version}: nothing older than {OLDEST} was tried"), "use a newer one"),
    });

    // Every version may add to the tables, and only who owns them can.
    let missing = "SELECT CASE WHEN NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) THEN 'may not create tables in its schema' \
                   WHEN EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'maniple_migrations' \
                     AND NOT pg_has_role(current_user, tableowner, 'MEMBER')) THEN 'does not own the tables' END";
    let missing = text(missing).await?;
    findings.push(match missing.is_empty() {
        true => Finding::ok("rights", "the store's user may do what a node does"),
        false => Finding::failed(
            "rights",
            format!("the store's user {missing}, so no node starts"),
            "GRANT CREATE ON SCHEMA to it, and let it own the tables",
        ),
    });

    let has = text("SELECT to_regclass('maniple_migrations')::text").await?;
    let known = schema::newest();
    let found = if has.is_empty() { 0 } else { number(text("SELECT max(version)::text FROM maniple_migrations").await?) };
    findings.push(match found {
        0 => Finding::ok("tables", "they are made when the first node starts"),
        _ if found > known => {
            Finding::failed("tables", format!("version {found} of a newer maniple, and this one knows {known}"), "use that one")
        }
        _ if found < known => {
            Finding::warning("tables", format!("version {found}; a node of this version brings them to {known}"), "start one")
        }
        _ => Finding::ok("tables", format!("version {found}")),
    });

    let (before, server, after) = (
        SystemClock.now().0,
        number(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text").await?),
        SystemClock.now().0,
    );
    let skew = Duration::from_millis(server.saturating_sub(before.midpoint(after)).unsigned_abs());
    findings.push(match skew > SKEW_MAX {
        true => Finding::warning("clocks", format!("the database's is {} ms from this machine's", skew.as_millis()), "run NTP on both"),
        false => Finding::ok("clocks", format!("{} ms apart", skew.as_millis())),
    });

    for (name, why) in [
        ("fsync", "a power cut loses what was acknowledged, or the database"),
        ("synchronous_commit", "a crash of the server loses what was acknowledged last"),
        ("full_page_writes", "a power cut may damage the database"),
    ] {
        let value = setting(name).await?;
        findings.push(match value.as_str() {
            "off" => Finding::failed(name, format!("off: {why}"), format!("set {name} = on")),
            _ => Finding::ok(name, value),
        });
    }
    findings.push(match setting("autovacuum").await?.as_str() {
        "off" => Finding::warning("autovacuum", "off: `live` and `ready` grow with every task", "set autovacuum = on"),
        value => Finding::ok("autovacuum", value),
    });

    let (most, used) = (number(setting("max_connections").await?), number(text("SELECT count(*)::text FROM pg_stat_activity").await?));
    let own = options.connections as i64 + 1;
    findings.push(match most - used < own {
        true => Finding::warning(
            "connections",
            format!("{used} of {most} are taken, and a process takes up to {own}"),
            "raise max_connections, lower store_connections, or put a pooler before it",
        ),
        false => Finding::ok("connections", format!("{used} of {most} are taken; a process takes up to {own}")),
    });

    let long = format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now() - interval '{LONG}'"
    );
    findings.push(match number(text(&long).await?) {
        0 => Finding::ok("transactions", format!("none is open for more than {LONG}")),
        open => Finding::warning(
            "transactions",
            format!("{open} open for more than {LONG}: what is rewritten cannot be cleaned up"),
            "look for them in pg_stat_activity",
        ),
    });
    Ok(())
}

/// Whether a notification over one connection is heard on another.
pub(super) async fn hears(url: &str) -> maniple_core::Result<bool> {
    let config = link::config(url)?;
    match config.get_ssl_mode() {
        SslMode::Disable => hears_over(url, &config, NoTls).await,
        _ => hears_over(url, &config, link::tls()?).await,
    }
}

async fn hears_over<T>(url: &str, config: &Config, tls: T) -> maniple_core::Result<bool>
where
    T: tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket> + Send,
    T::TlsConnect: Send,
    T::Stream: Send + 'static,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<tokio_postgres::Socket>>::Future: Send,
{
    let (listener, mut connection) = config.connect(tls).await.map_err(failed)?;
    let name = format!("maniple_doctor_{}", fastrand::u32(..));
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) && heard.send(()).is_err() {
                return;
            }
        }
    });
    listener.batch_execute(&format!("LISTEN {name}")).await.map_err(failed)?;
    connect(url).await?.batch_execute(&format!("NOTIFY {name}")).await.map_err(failed)?;
    Ok(tokio::time::timeout(HEARD_WITHIN, hears.recv()).await.is_ok_and(|heard| heard.is_some()))
}
