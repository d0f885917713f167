//! Contract suites, fakes and faults for tests.
