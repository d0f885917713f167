//! Rows that providers were seen to answer, and the parts of a fault.

use super::*;

fn of_status(status: u16, retry_after: Option<Duration>, body: &str) -> Fault {
    super::of_status(status, retry_after, &Said::read(body))
}
fn kind(status: u16, waits: bool, body: &str) -> FaultKind {
    of_status(status, waits.then_some(Duration::from_secs(1)), body).kind
}

#[test]
fn money_and_rate_limits_are_told_apart_by_what_helps() {
    let gemini = r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED"}}]"#;
    let tpm = r#"{"error":{"message":"Rate limit reached. You can increase it by adding a payment method at https://x/billing.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let spend = r#"{"type":"error","error":{"type":"rate_limit_error","message":"This would exceed your monthly spend limit"}}"#;
    assert_eq!(kind(429, false, gemini), FaultKind::Money);
    assert_eq!(kind(429, true, gemini), FaultKind::Throttled, "it says when to come back");
    assert_eq!(kind(429, false, tpm), FaultKind::Throttled, "it names a rate limit");
    assert_eq!(kind(429, true, spend), FaultKind::Money);
    assert_eq!(kind(429, true, r#"{"error":{"code":"insufficient_quota"}}"#), FaultKind::Money);
    assert_eq!(kind(400, false, r#"{"error":"give me credit for the billing form"}"#), FaultKind::Invalid);
}

#[test]
fn a_window_is_recognised_in_any_wording_and_a_mere_500_is_not() {
    for (status, body) in [
        (400, r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#),
        (400, r#"{"object":"error","message":"This model's maximum context length is 4096 tokens","code":400}"#),
        (422, r#"{"error":"Input is too long for requested model"}"#),
        (500, r#"{"error":{"code":500,"message":"the request exceeds the available context size"}}"#),
    ] {
        assert_eq!(kind(status, false, body), FaultKind::ContextTooLong, "{body}");
    }
    assert_eq!(kind(500, false, r#"{"error":{"code":500,"message":"Failed to parse input"}}"#), FaultKind::Failed);
    assert_eq!(kind(429, false, r#"{"error":{"message":"context window requests per minute"}}"#), FaultKind::Throttled);
}

#[test]
fn the_reason_is_found_in_any_shape() {
    for body in [
        r#"{"error":{"message":"why","code":7}}"#,
        r#"{"error":"why"}"#,
        r#"{"message":"why","object":"error"}"#,
        r#"{"detail":"why"}"#,
        r#"[{"error":{"message":"why"}}]"#,
        r#""why""#,
        " why\n",
    ] {
        assert_eq!(of_status(400, None, body).message, "HTTP 400: why", "{body}");
    }
    assert_eq!(of_status(400, None, "").message, "HTTP 400: no reason given");
    assert_eq!(of_status(400, None, r#"{"errors":[1]}"#).message, r#"HTTP 400: {"errors":[1]}"#);
}

#[test]
fn a_wait_in_the_body_is_believed_before_money_is_suspected() {
    let gemini = r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.\nPlease retry in 2.9s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2s"}]}}]"#;
    let openai = r#"{"error":{"message":"Rate limit reached on tokens per min (TPM): Limit 30000. Please try again in 250ms.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    for (body, wait) in [(gemini, Duration::from_secs(2)), (openai, Duration::from_millis(250))] {
        let fault = of_status(429, None, body);
        assert_eq!((fault.kind, fault.retry_after), (FaultKind::Throttled, Some(wait)), "{body}");
    }
    let header = of_status(429, Some(Duration::from_secs(7)), openai);
    assert_eq!(header.retry_after, Some(Duration::from_secs(7)), "a header is over it");
}

#[test]
fn what_a_router_quotes_of_the_provider_behind_it_is_read_too() {
    let router = r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"prompt is too long: 9 tokens > 8 maximum\"}}","provider_name":"X"}}}"#;
    let fault = of_status(400, None, router);
    assert_eq!(fault.kind, FaultKind::ContextTooLong);
    assert_eq!(fault.message, "HTTP 400: Provider returned error: prompt is too long: 9 tokens > 8 maximum");
}

#[test]
fn what_stands_behind_words_or_in_an_event_is_read_too() {
    let quota = r#"{"error":{"message":"no more","code":"insufficient_quota"}}"#;
    for (body, message) in [
        (format!("upstream said: {quota} (try later)"), "HTTP 429: upstream said: no more"),
        (format!("event: error\ndata: {quota}\n\n"), "HTTP 429: no more"),
    ] {
        let fault = of_status(429, None, &body);
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Money, message), "{body}");
    }
    assert_eq!(of_status(400, None, "not {json}").message, "HTTP 400: not {json}");
}

#[test]
fn a_call_that_a_model_garbled_is_asked_for_again() {
    let groq = r#"{"error":{"message":"Failed to call a function. Please adjust your prompt.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<x>"}}"#;
    assert_eq!(kind(400, false, groq), FaultKind::CutAfter);
}

#[test]
fn a_page_is_quoted_without_its_markup() {
    let page = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>p { x }</style></head><body><script>1</script><p>cloudflare</p></body></html>";
    assert_eq!(of_status(502, None, page).message, "HTTP 502: a page, not an answer: 502 Bad Gateway cloudflare");
    let fault = of_text(page);
    assert_eq!(fault.kind, FaultKind::CutAfter);
    assert_eq!(fault.message, "an error inside the answer: a page, not an answer: 502 Bad Gateway cloudflare");
}

#[test]
fn a_secret_that_a_cut_would_leave_in_halves_is_gone_before_the_cut() {
    let said = format!("{}secret-key", "x".repeat(MAX_MESSAGE_BYTES - 12));
    let fault = explain(Fault::new(FaultKind::Overloaded, said), "lab", "", ["secret-key"]);
    assert!(fault.message.len() <= MAX_MESSAGE_BYTES && !fault.message.contains("secret"), "{}", fault.message);
}

#[test]
fn an_error_inside_an_answer_is_judged_with_its_codes() {
    let limited = serde_json::json!({ "error": { "message": "You exceeded your quota of tokens a minute", "code": 429, "type": "rate_limit_error" } });
    assert_eq!(of_error(&limited).kind, FaultKind::Throttled, "it names a rate limit");
}

#[test]
fn a_call_that_a_server_cannot_read_is_called_that_whatever_its_status() {
    let said = r#"{"error":{"code":500,"message":"The model produced output that does not match the expected peg-native format","type":"server_error"}}"#;
    for fault in [of_status(500, None, said), of_text(said)] {
        assert_eq!(fault.kind, FaultKind::CutAfter, "{fault}");
        assert!(fault.message.contains("the model wrote a tool call that its server could not read: The model produced"), "{fault}");
    }
}

#[test]
fn what_is_kept_of_an_error_is_bounded_and_one_quoted_in_another_is_read_one_level_deep() {
    let long = serde_json::json!({ "error": { "data": "x".repeat(2 * MAX_ERROR_BODY_BYTES) } });
    assert!(Said::of(&long).message.len() <= MAX_ERROR_BODY_BYTES);
    let nested = serde_json::json!({ "message": "one", "cause": { "message": "two", "cause": { "message": "three", "code": "insufficient_quota" } } });
    let said = Said::of(&nested);
    assert_eq!((said.text().as_str(), said.no_credit()), ("one: two", false));
}
