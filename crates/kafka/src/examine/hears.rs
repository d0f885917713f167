//! What the client library says beside its answers: why a broker cannot be reached, and which of them is the controller.

use rdkafka::{ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError};
use std::sync::{Mutex, PoisonError};

/// Hears what the library says. It must say what it does with metadata: `debug=metadata`.
#[derive(Default)]
pub(super) struct Hears(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    why: Option<String>,
    controller: Option<i32>,
}

impl Hears {
    /// Why brokers could not be reached, as far as that was said: the first word about it, which is nearest to the cause.
    pub(super) fn why(&self) -> Option<String> {
        self.heard().why.clone()
    }
    /// The broker that is the controller, -1 for none; nothing where nobody said so.
    pub(super) fn controller(&self) -> Option<i32> {
        self.heard().controller
    }
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn complains(&self, message: &str) {
        if message.ends_with("brokers are down") {
            // What was the matter with them is said beside it.
            return;
        }
        self.heard().why.get_or_insert_with(|| without_thread(message).to_owned());
    }
}

impl ClientContext for Hears {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                if let Some(controller) = controller_in(message) {
                    self.heard().controller = Some(controller);
                }
            }
            _ => self.complains(message),
        }
    }
    fn error(&self, _error: KafkaError, reason: &str) {
        self.complains(reason);
    }
}
impl ConsumerContext for Hears {}

/// The library has no other way to say it that is open to us.
fn controller_in(message: &str) -> Option<i32> {
    message.rsplit_once("ControllerId: ").and_then(|(_, id)| id.trim().parse().ok())
}

/// `[thrd:NAME]: WHAT` without the thread.
fn without_thread(message: &str) -> &str {
    message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(message, |(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_complaint_is_kept_and_the_controller_is_the_last_that_was_named() {
        let hears = Hears::default();
        assert_eq!((hears.why(), hears.controller()), (None, None));
        hears.error(KafkaError::Canceled, "1/1 brokers are down");
        hears.log(RDKafkaLogLevel::Error, "FAIL", "[thrd:a:1/bootstrap]: a:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed");
        hears.error(KafkaError::Canceled, "another");
        hears.log(RDKafkaLogLevel::Debug, "METADATA", "[thrd:main]: a:1/1: ClusterId: x, ControllerId: 3");
        hears.log(RDKafkaLogLevel::Debug, "METADATA", "[thrd:main]: a:1/1: ClusterId: x, ControllerId: -1");
        hears.log(RDKafkaLogLevel::Debug, "METADATA", "[thrd:main]: a:1/1: 2 brokers, 4 topics");
        assert_eq!(hears.why().as_deref(), Some("a:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed"));
        assert_eq!(hears.controller(), Some(-1));
    }
}
