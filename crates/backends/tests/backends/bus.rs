//! The buses keep their contract: that of one process, and the one over Postgres.

use crate::postgres::Database;
use maniple_backends::{local, postgres};
use maniple_testkit::bus_suite::{self, Carries, Fixture};
use std::sync::Arc;

#[tokio::test]
async fn the_bus_of_one_process_keeps_the_contract() {
    bus_suite::run(async || {
        let bus = Arc::new(local::Bus::new());
        Fixture { here: bus.clone(), there: bus, carries: Carries::Everything, keep: Box::new(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_over_postgres_keeps_the_contract() {
    let database = Arc::new(Database::new());
    bus_suite::run(async || {
        let bus = || Arc::new(postgres::Bus::over(database.store(None), &database.url()).expect("legal"));
        Fixture { here: bus(), there: bus(), carries: Carries::Notices, keep: Box::new(()) }
    })
    .await;
}
