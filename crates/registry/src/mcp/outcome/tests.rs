use super::*;

fn outcome(result: Value) -> Invoked {
    of(result, None)
}
fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

#[test]
fn structured_content_goes_before_text_and_text_is_one() {
    assert_eq!(outcome(json!({ "content": [text("7")], "structuredContent": { "sum": 7 } })), Invoked::Ok(json!({ "sum": 7 })));
    assert_eq!(outcome(json!({ "content": [text("a"), text("b")] })), Invoked::Ok(json!("a\nb")));
    assert_eq!(outcome(json!({ "content": [] })), Invoked::Ok(Value::Null));
}

#[test]
fn a_structured_null_is_none_and_what_stands_beside_it_counts() {
    assert_eq!(outcome(json!({ "content": [text("x")], "structuredContent": null })), Invoked::Ok(json!("x")));
    assert_eq!(outcome(json!({ "content": [text("x")], "isError": null })), Invoked::Ok(json!("x")));
}

#[test]
fn a_text_that_is_json_is_the_result_of_a_tool_that_promises_no_text() {
    let result = json!({ "content": [text("{\"sum\": 7}")] });
    let object = json!({ "type": "object" });
    assert_eq!(of(result.clone(), Some(&object)), Invoked::Ok(json!({ "sum": 7 })));
    assert_eq!(of(result.clone(), Some(&json!({ "type": "string" }))), Invoked::Ok(json!("{\"sum\": 7}")));
    assert_eq!(of(result, None), Invoked::Ok(json!("{\"sum\": 7}")));
    assert_eq!(of(json!({ "content": [text("The sum is 7.")] }), Some(&object)), Invoked::Ok(json!("The sum is 7.")));
}

#[test]
fn pictures_sounds_and_resources_are_described_and_their_bytes_left_out() {
    let content = json!([
        text("see"),
        { "type": "image", "data": "aGVsbG8=", "mimeType": "image/png" },
        { "type": "image", "data": "data:image/png;base64,aGVsbG8=", "mimeType": "image/png" },
        { "type": "resource", "resource": { "uri": "file:///a", "mimeType": "text/plain", "text": "A" } },
        { "type": "resource", "resource": { "uri": "file:///b", "blob": "aGk=" } },
        { "type": "resource_link", "uri": "file:///c", "name": "c" },
    ]);
    let expected = json!([
        text("see"),
        { "type": "image", "mime_type": "image/png", "bytes": 5 },
        { "type": "image", "mime_type": "image/png", "bytes": 5 },
        { "type": "resource", "uri": "file:///a", "mime_type": "text/plain", "text": "A" },
        { "type": "resource", "uri": "file:///b", "bytes": 2 },
        { "type": "resource_link", "uri": "file:///c", "name": "c" },
    ]);
    assert_eq!(outcome(json!({ "content": content })), Invoked::Ok(expected));
}

#[test]
fn one_odd_piece_costs_that_piece() {
    for (odd, told) in [
        (json!({ "type": "hologram", "x": 1, "_meta": {} }), json!([text("a"), { "type": "hologram", "x": 1 }])),
        (json!({ "type": "image", "data": "aGk=" }), json!([text("a"), { "type": "image", "bytes": 2 }])),
        (json!({ "type": "resource_link", "uri": "file:///c" }), json!([text("a"), { "type": "resource_link", "uri": "file:///c" }])),
        (json!({ "type": "text", "text": null }), json!("a")),
        (json!({ "type": "text", "text": { "b": 1 } }), json!("a\n{\"b\":1}")),
        (json!("b"), json!("a\nb")),
        (json!(null), json!("a")),
        (json!({ "type": "text", "text": "b", "annotations": { "audience": ["system"], "priority": "high" } }), json!("a\nb")),
    ] {
        assert_eq!(outcome(json!({ "content": [text("a"), odd] })), Invoked::Ok(told), "{odd}");
    }
    for (content, told) in [(json!(null), json!(null)), (json!("just text"), json!("just text")), (text("one"), json!("one"))] {
        assert_eq!(outcome(json!({ "content": content })), Invoked::Ok(told));
    }
}

#[test]
fn a_result_of_no_known_shape_is_told_whole() {
    for (result, told) in [
        (json!({}), json!(null)),
        (json!(null), json!(null)),
        (json!({ "_meta": {}, "resultType": "complete" }), json!(null)),
        (json!({ "success": true, "_meta": {} }), json!({ "success": true })),
        (json!({ "toolResult": { "sum": 7 } }), json!({ "sum": 7 })),
        (json!("bare"), json!("bare")),
    ] {
        assert_eq!(outcome(result.clone()), Invoked::Ok(told), "{result}");
    }
}

#[test]
fn an_error_is_a_failure_with_its_words_first_and_at_most_4_kib_of_them() {
    let failed = |result: Value| match outcome(result) {
        Invoked::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(json!({ "content": [text("no such file")], "isError": true })), json!({ "error": "no such file" }));
    let both = json!({ "content": [text("no such file")], "structuredContent": { "code": 3 }, "isError": true });
    assert_eq!(failed(both), json!({ "error": "no such file", "data": { "code": 3 } }));
    assert_eq!(failed(json!({ "structuredContent": { "code": 3 }, "isError": true })), json!({ "error": { "code": 3 } }));
    let silent = json!({ "error": "the tool failed, and does not say why" });
    assert_eq!(failed(json!({ "content": [], "isError": true })), silent);
    assert_eq!(failed(json!({ "content": [text("no")], "isError": "true" })), json!({ "error": "no" }));
    let long = failed(json!({ "content": [text(&"ä".repeat(9_000))], "isError": true }));
    assert_eq!(long, json!({ "error": format!("{} [cut]", "ä".repeat(2_048)) }));
}

#[test]
fn of_a_huge_result_one_mib_is_stored_and_it_says_so() {
    for result in [
        json!({ "content": [text(&"x".repeat(3 << 20))] }),
        json!({ "content": [], "structuredContent": { "rows": vec![7; 1 << 20] } }),
        json!({ "content": [text("a"), { "type": "resource", "resource": { "uri": "u", "text": "\n".repeat(2 << 20) } }] }),
    ] {
        let Invoked::Ok(value) = outcome(result) else { panic!("a result") };
        assert_eq!(value["truncated"], true);
        assert!(((1 << 19)..=(1 << 20)).contains(&value.to_string().len()));
    }
}
