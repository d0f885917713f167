//! What an answer is by its bytes, and how long it is waited for.

use super::*;
use crate::fixture::{anthropic, openai, profile, request};
use futures::stream;

const DAY: Duration = Duration::from_secs(24 * 3600);
type Body = futures::stream::BoxStream<'static, Result<Bytes, String>>;

const OPENAI: &str = include_str!("../../golden/openai/tool-call.sse");
const ANTHROPIC: &str = include_str!("../../golden/anthropic/tool-call.sse");

/// A body that says `:` every `seconds`, for ever.
fn drip(seconds: u64) -> impl Stream<Item = Result<Bytes, String>> {
    stream::unfold((), move |()| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Some((Ok(Bytes::from_static(b":\n")), ()))
    })
}
fn said(pieces: &[&str]) -> Vec<Result<Bytes, String>> {
    pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece.as_bytes()))).collect()
}
async fn read(
    body: impl Stream<Item = Result<Bytes, String>> + Send + 'static,
    events: Events,
    request: &ModelRequest,
) -> Result<ModelReply, Fault> {
    let body: Body = body.boxed();
    answer(body, Deadline::within(DAY), events, request, &profile(), &mut |_| {}).await
}

#[tokio::test(start_paused = true)]
async fn a_pause_above_the_time_between_chunks_is_a_time_out() {
    let (request, begun) = (request("hi"), Instant::now());
    let fault = read(drip(31), openai(), &request).await.expect_err("late");
    assert_eq!((fault.kind, begun.elapsed()), (FaultKind::TimedOut, Duration::from_secs(30)));
    let lasting = tokio::time::timeout(Duration::from_secs(3600), read(drip(10), openai(), &request)).await;
    assert!(lasting.is_err(), "a server that shows life is waited for, until the whole call ends");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_is_a_time_out_after_a_minute() {
    let (mut request, begun) = (request("hi"), Instant::now());
    let fault = read(drip(20), openai(), &request).await.expect_err("too slow");
    assert_eq!((fault.kind, begun.elapsed()), (FaultKind::TimedOut, Duration::from_secs(60)));
    assert_eq!(fault.message, "the answer came at 6 bytes a minute, and the least is 10 (worker.bytes_a_minute)");
    request.times.bytes_a_minute = 0;
    let lasting = tokio::time::timeout(Duration::from_secs(3600), read(drip(20), openai(), &request)).await;
    assert!(lasting.is_err(), "unless any pace will do");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lingers_after_its_last_event_holds_nobody_up() {
    let body = stream::iter(said(&[OPENAI])).chain(drip(25));
    let begun = Instant::now();
    let reply = read(body, openai(), &request("hi")).await.expect("a reply");
    assert_eq!((reply.calls.len(), begun.elapsed() <= TAIL * 2), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_said_why_it_stopped_is_waited_for_two_seconds_and_its_answer_is_whole() {
    let openai_stopped = "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\n";
    let anthropic_stopped = ANTHROPIC.split("event: message_stop").next().expect("its beginning");
    for (begun, events, after) in [(openai_stopped, openai(), USAGE), (anthropic_stopped, anthropic(), END)] {
        for heartbeat in [Duration::from_secs(25), Duration::from_millis(100)] {
            let heartbeats = stream::unfold((), move |()| async move {
                tokio::time::sleep(heartbeat).await;
                Some((Ok(Bytes::from_static(b": alive\n\n")), ()))
            });
            let (body, now) = (stream::iter(said(&[begun])).chain(heartbeats), Instant::now());
            let again = if matches!(events.api, Dialect::OpenAi(_)) { openai() } else { anthropic() };
            let reply = read(body, again, &request("hi")).await.expect("a reply");
            assert!(reply.text.is_some() && now.elapsed() == after, "{heartbeat:?}: {:?}", now.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn usage_that_comes_late_is_counted_and_nothing_that_comes_later_takes_the_answer_back() {
    let stopped = "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":7}}\n\n";
    let late = stream::once(async move {
        tokio::time::sleep(Duration::from_millis(1_900)).await;
        Ok(Bytes::copy_from_slice(usage.as_bytes()))
    });
    let body = stream::iter(said(&[stopped])).chain(late).chain(drip(25));
    let reply = read(body, openai(), &request("hi")).await.expect("a reply");
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (20, 7));
    for behind in ["data: {\"error\":{\"message\":\"worker died\"}}\n\n", "data: {\"cho", "{\"error\":1}\n"] {
        let body = stream::iter(said(&[stopped, behind]).into_iter().chain([Err("reset".to_owned())]));
        assert_eq!(read(body, openai(), &request("hi")).await.expect(behind).text.as_deref(), Some("whole"));
    }
}

#[tokio::test]
async fn what_an_answer_is_its_first_byte_says() {
    let plain = r#"{"choices":[{"message":{"content":"Bonjour"},"finish_reason":"stop"}]}"#;
    let events = "data: {\"choices\":[{\"delta\":{\"content\":\"Bonjour\"},\"finish_reason\":\"stop\"}]}\n\n";
    for pieces in [
        vec![plain],
        vec!["\n", " \r\n\n", plain],
        vec!["\u{feff}", plain, "\n"],
        vec![events],
        vec!["\n\n", events],
        vec![": hello\n\n", events],
    ] {
        let reply = read(stream::iter(said(&pieces)), openai(), &request("hi")).await;
        assert_eq!(reply.unwrap_or_else(|fault| panic!("{pieces:?}: {fault}")).text.as_deref(), Some("Bonjour"));
    }
}

#[tokio::test]
async fn an_error_is_found_wherever_it_hides() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"so\"}}]}\n\n";
    let page = "<html><head><title>Sign in</title></head></html>";
    for (pieces, kind, told) in [
        (vec![r#"{"error":{"message":"slow down, retry in 3s","code":429}}"#], FaultKind::Throttled, "slow down"),
        (vec![r#"[{"error":{"message":"no such project","code":404}}]"#], FaultKind::CutAfter, "no such project"),
        (
            vec![r#"{"choices":[{"message":{"content":"half"}}]}"#, "\n{\"error\":{\"message\":\"worker died\"}}"],
            FaultKind::CutAfter,
            "worker died",
        ),
        (vec![r#"{"detail":"Incorrect API key, and no status for it"}"#], FaultKind::CutAfter, "Incorrect API key"),
        (vec![page], FaultKind::CutAfter, "Sign in"),
        (vec![begun, "{\"error\": {\"message\": \"Insufficient credits\", \"code\": 402}}"], FaultKind::Money, "Insufficient credits"),
        (vec![begun, "{\n  \"error\": {\n", "    \"message\": \"worker died\"\n  }\n}\n"], FaultKind::CutAfter, "worker died"),
        (vec![begun, "upstream connect error\n"], FaultKind::CutAfter, "upstream connect error"),
        (vec![begun, page], FaultKind::CutAfter, "Sign in"),
        (vec!["internal server error"], FaultKind::CutAfter, "finish_reason"),
        (vec![""], FaultKind::CutAfter, "finish_reason"),
    ] {
        let fault = read(stream::iter(said(&pieces)), openai(), &request("hi")).await.expect_err("an error");
        assert!(fault.kind == kind && fault.message.contains(told), "{pieces:?}: {:?} {fault}", fault.kind);
        assert_eq!(fault.usage.is_some(), pieces.iter().any(|piece| piece.contains("so\"") || piece.contains("half")), "{pieces:?}");
    }
}

#[tokio::test]
async fn what_is_kept_of_an_answer_is_bounded_and_not_its_framing() {
    let stopped = "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\n";
    let blob = format!("data: {{\"choices\":[],\"blob\":\"{}\"}}\n\n", "x".repeat(2 << 20));
    let body = stream::iter(said(&std::iter::repeat_n(blob.as_str(), 12).chain([stopped]).collect::<Vec<_>>()));
    assert_eq!(read(body, openai(), &request("hi")).await.expect("a reply").text.as_deref(), Some("whole"));
    let words = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(1 << 20));
    let body = stream::iter(said(&[words.as_str(); 17]));
    let fault = read(body, openai(), &request("hi")).await.expect_err("too much");
    assert!(fault.kind == FaultKind::CutAfter && fault.message.contains("says more than"), "{fault}");
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![b':'; 1 << 20])));
    assert!(read(endless, openai(), &request("hi")).await.expect_err("one line").message.contains("an event of the answer"));
    let comment = Bytes::from([vec![b':'; 1 << 20], b"\n".to_vec()].concat());
    let endless = stream::repeat_with(move || Ok(comment.clone()));
    assert!(read(endless, openai(), &request("hi")).await.expect_err("no end").message.contains("the answer has more than"));
}

#[tokio::test]
async fn an_error_body_is_read_as_far_as_it_comes() {
    let body = stream::iter([Ok(Bytes::from_static(b"half")), Err("cut")]);
    assert_eq!(error_text(body, Duration::from_secs(1)).await, "half");
    let endless = stream::repeat_with(|| Ok::<_, String>(Bytes::from(vec![b'x'; 1000])));
    assert_eq!(error_text(endless, Duration::from_secs(1)).await.len(), fault::MAX_ERROR_BODY_BYTES);
}

#[tokio::test]
async fn what_comes_behind_the_end_takes_no_answer_back_however_its_bytes_are_cut() {
    let openai_stopped = "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\n";
    let anthropic_stopped = ANTHROPIC.split("event: message_stop").next().expect("its beginning");
    let error = "data: {\"error\":{\"message\":\"worker died\"}}\n\n";
    for (stopped, behind) in [
        (openai_stopped, error),
        (openai_stopped, "event: error\ndata: {}\n\n"),
        (openai_stopped, "data: {\"cho\n\n"),
        (openai_stopped, "{\"error\":{\"message\":\"worker died\"}}\n"),
        (openai_stopped, "{\"error\":{\"message\":\"worker died\"}}"),
        (anthropic_stopped, error),
        (anthropic_stopped, "data: [DONE]\n\n"),
    ] {
        let together = format!("{stopped}{behind}");
        for pieces in [vec![stopped, behind], vec![together.as_str()]] {
            let events = if stopped == openai_stopped { openai() } else { anthropic() };
            let reply = read(stream::iter(said(&pieces)), events, &request("hi")).await;
            assert!(reply.is_ok(), "{} pieces, then {behind}: {reply:?}", pieces.len());
        }
    }
    let plain =
        "{\"choices\":[{\"message\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n{\"error\":{\"message\":\"worker died\"}}";
    assert_eq!(read(stream::iter(said(&[plain])), openai(), &request("hi")).await.expect("a reply").text.as_deref(), Some("whole"));
}

#[test]
fn what_stands_among_the_events_is_kept_up_to_its_bound() {
    let mut events = openai();
    for _ in 0..3 * MAX_STRAY_BYTES {
        let stray = sse::Event { name: sse::STRAY.to_owned(), data: "x".to_owned() };
        events.event(&stray, &mut |_| {}).expect("no error");
    }
    assert!(events.stray.len() <= MAX_STRAY_BYTES, "{}", events.stray.len());
}
