//! Contract suites, fakes and faults for tests.

pub mod bus_suite;
pub mod catalogue;
pub mod checker;
pub mod faults;
pub mod ledger;
pub mod limiter_suite;
pub mod model;
pub mod postgres;
pub mod store_suite;
pub mod tool_store_suite;
pub mod tools_suite;
