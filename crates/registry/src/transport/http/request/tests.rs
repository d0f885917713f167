//! What of a call is written where.

use super::*;
use serde_json::json;

fn sent(method: &str, endpoint: &str, arguments: Value) -> Result<(String, Option<Value>), String> {
    let definition = json!({ "name": "t", "version": "1.0.0", "description": "d", "endpoint": endpoint, "method": method });
    let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
    let prepared = prepare(&tool, &arguments)?;
    Ok((prepared.url.to_string(), prepared.body.map(|b| serde_json::from_slice(&b).expect("JSON"))))
}

#[test]
fn arguments_are_the_body_of_a_post_and_what_fills_the_path_is_not_in_it() {
    let arguments = json!({ "id": 7, "note": "a b", "deep": { "x": [1] } });
    let expected = ("http://x.test/pay/7?fixed=1".to_owned(), Some(json!({ "note": "a b", "deep": { "x": [1] } })));
    for method in ["POST", "PUT", "PATCH"] {
        assert_eq!(sent(method, "http://x.test/pay/{id}?fixed=1", arguments.clone()), Ok(expected.clone()));
    }
    assert_eq!(sent("POST", "http://x.test/", Value::Null), Ok(("http://x.test/".into(), Some(json!({})))));
}

#[test]
fn a_query_repeats_arrays_writes_objects_as_json_and_leaves_null_out() {
    let arguments = json!({ "a": [1, "two", { "x": 1 }], "b": true, "n": null, "o": { "k": [1] }, "q": "ä&=+ ", "z": -1.5 });
    let query = "k=v&a=1&a=two&a=%7B%22x%22%3A1%7D&b=true&o=%7B%22k%22%3A%5B1%5D%7D&q=%C3%A4%26%3D%2B+&z=-1.5";
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(sent(method, "http://x.test/s?k=v", arguments.clone()), Ok((format!("http://x.test/s?{query}"), None)));
    }
    assert_eq!(sent("GET", "http://x.test/s", json!({ "n": null })), Ok(("http://x.test/s".into(), None)));
}

#[test]
fn a_path_argument_cannot_leave_its_segment() {
    for (value, path) in [
        ("a/b", "a%2Fb"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?x=1#f", "a%3Fx%3D1%23f"),
        ("%2e%2e", "%252e%252e"),
        ("a\\b\r\nX: y", "a%5Cb%0D%0AX%3A%20y"),
        ("ä.~_-", "%C3%A4.~_-"),
        ("@evil.test:80", "%40evil.test%3A80"),
        ("...", "..."),
    ] {
        let url = sent("GET", "http://x.test/users/{id}/edit", json!({ "id": value })).expect(value).0;
        assert_eq!(url, format!("http://x.test/users/{path}/edit"));
    }
    for value in [json!("."), json!(".."), json!(""), json!(null), json!([1]), json!({}), Value::Null] {
        let refused = sent("GET", "http://x.test/users/{id}/edit", json!({ "id": value }));
        assert!(refused.as_ref().is_err_and(|why| why.contains("`id`")), "{value}: {refused:?}");
    }
    assert!(sent("GET", "http://x.test/{a}{b}/", json!({ "a": ".", "b": "." })).is_err());
}

#[test]
fn an_argument_with_a_place_travels_there_under_its_name_there() {
    let definition = json!({
        "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/{id}", "method": "POST",
        "parameters": { "type": "object", "required": ["id"], "properties": { "id": {}, "page": {}, "tenant": {}, "body": {} } },
        "places": { "page": { "in": "query", "name": "p[]" }, "tenant": { "in": "header", "name": "X-Tenant" }, "body": { "in": "body" } },
    });
    let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
    check(&tool).expect("legal places");
    let arguments = json!({ "id": 1, "page": [1, 2], "tenant": "a", "body": ["x", null] });
    let prepared = prepare(&tool, &arguments).expect("a request");
    assert_eq!(prepared.url.as_str(), "http://x.test/1?p%5B%5D=1&p%5B%5D=2");
    assert_eq!((prepared.body.as_deref(), prepared.headers["x-tenant"].as_bytes()), (Some(&br#"["x",null]"#[..]), &b"a"[..]));
    assert!(prepare(&tool, &json!({ "id": 1, "tenant": "a\r\nX-Evil: 1" })).is_err());

    for (argument, place, why) in [
        ("other", json!({ "in": "query" }), "is no parameter"),
        ("tenant", json!({ "in": "header", "name": "Host" }), "cannot travel"),
        ("tenant", json!({ "in": "header", "name": "Idempotency-Key" }), "cannot travel"),
        ("tenant", json!({ "in": "header", "name": "a b" }), "cannot travel"),
        ("tenant", json!({ "in": "body" }), "only one"),
    ] {
        let mut wrong = tool.clone();
        wrong.places.insert(argument.into(), serde_json::from_value(place).expect("a place"));
        let told = check(&wrong).expect_err(why);
        assert!(told.contains(why), "{told}");
    }
    let mut homeless = tool.clone();
    homeless.places.remove("page");
    assert!(check(&homeless).is_err_and(|why| why.contains("`page` needs a place")));
}

/// What travels of `p`, by its place: the path, the query, the header `x-p` or the cookies.
fn travels(place: Value, value: Value) -> String {
    let endpoint = if place["in"] == "path" { "http://x.test/a/{p}" } else { "http://x.test/a" };
    let mut place = place;
    if place["in"] == "header" {
        place["name"] = "X-P".into();
    }
    let definition = json!({
        "name": "t", "version": "1.0.0", "description": "d", "endpoint": endpoint, "method": "GET",
        "parameters": { "type": "object", "required": ["p"], "properties": { "p": {} } }, "places": { "p": place },
    });
    let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
    check(&tool).expect("a legal place");
    let prepared = prepare(&tool, &json!({ "p": value })).expect("a request");
    let header = |name: &str| prepared.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    match tool.places["p"].carrier {
        Carrier::Path => prepared.url.path().trim_start_matches("/a/").to_owned(),
        Carrier::Query => prepared.url.query().unwrap_or_default().to_owned(),
        Carrier::Header => header("x-p").unwrap_or_default(),
        Carrier::Cookie => header("cookie").unwrap_or_default(),
        Carrier::Body => unreachable!("it is a GET"),
    }
}

/// The table of "Style Examples" in OpenAPI 3.0.3, with the delimiters encoded as 3.0.4 asks for.
#[test]
fn each_style_writes_what_the_specification_shows() {
    let list = json!(["blue", "black", "brown"]);
    let object = json!({ "R": 100, "G": 200, "B": 150 });
    for (carrier, style, explode, of_text, of_list, of_object) in [
        ("path", "matrix", false, ";p=blue", ";p=blue,black,brown", ";p=B,150,G,200,R,100"),
        ("path", "matrix", true, ";p=blue", ";p=blue;p=black;p=brown", ";B=150;G=200;R=100"),
        ("path", "label", false, ".blue", ".blue,black,brown", ".B,150,G,200,R,100"),
        ("path", "label", true, ".blue", ".blue.black.brown", ".B=150.G=200.R=100"),
        ("path", "simple", false, "blue", "blue,black,brown", "B,150,G,200,R,100"),
        ("path", "simple", true, "blue", "blue,black,brown", "B=150,G=200,R=100"),
        ("header", "simple", false, "blue", "blue,black,brown", "B,150,G,200,R,100"),
        ("header", "simple", true, "blue", "blue,black,brown", "B=150,G=200,R=100"),
        ("query", "form", false, "p=blue", "p=blue,black,brown", "p=B,150,G,200,R,100"),
        ("query", "form", true, "p=blue", "p=blue&p=black&p=brown", "B=150&G=200&R=100"),
        ("query", "spaceDelimited", false, "p=blue", "p=blue%20black%20brown", "p=B%20150%20G%20200%20R%20100"),
        ("query", "pipeDelimited", false, "p=blue", "p=blue%7Cblack%7Cbrown", "p=B%7C150%7CG%7C200%7CR%7C100"),
        ("query", "pipeDelimited", true, "p=blue", "p=blue&p=black&p=brown", "B=150&G=200&R=100"),
        ("query", "deepObject", true, "p=blue", "p%5B%5D=blue&p%5B%5D=black&p%5B%5D=brown", "p%5BB%5D=150&p%5BG%5D=200&p%5BR%5D=100"),
        ("cookie", "form", false, "p=blue", "p=blue,black,brown", "p=B,150,G,200,R,100"),
        ("cookie", "form", true, "p=blue", "p=blue; p=black; p=brown", "B=150; G=200; R=100"),
    ] {
        let place = json!({ "in": carrier, "style": style, "explode": explode });
        let seen = [json!("blue"), list.clone(), object.clone()].map(|value| travels(place.clone(), value));
        assert_eq!(seen, [of_text, of_list, of_object], "{carrier} {style} {explode}");
    }
}

#[test]
fn what_is_written_out_can_neither_end_its_place_nor_begin_another() {
    for (place, value, written) in [
        (json!({ "in": "query", "style": "form", "explode": false }), json!(["a,b", "c&d=e#f"]), "p=a%2Cb,c%26d%3De%23f"),
        (json!({ "in": "query", "style": "form" }), json!({ "a&x": "1&2", "n": null }), "a%26x=1%262"),
        (json!({ "in": "query", "allow_reserved": true }), json!("/a?b:c@d&e=f#g+h,i"), "p=/a?b:c@d%26e%3Df%23g%2Bh,i"),
        (json!({ "in": "query", "style": "json" }), json!({ "a": [1, "&"] }), "p=%7B%22a%22%3A%5B1%2C%22%26%22%5D%7D"),
        (
            json!({ "in": "query", "style": "deepObject" }),
            json!({ "a": { "b": "c]&" }, "l": [{ "x": 1 }] }),
            "p%5Ba%5D%5Bb%5D=c%5D%26&p%5Bl%5D%5B0%5D%5Bx%5D=1",
        ),
        (json!({ "in": "path", "style": "simple" }), json!(["a/b", "../c"]), "a%2Fb,..%2Fc"),
        (json!({ "in": "path", "style": "label" }), json!({ "a/b": ".." }), ".a%2Fb,.."),
        (json!({ "in": "cookie" }), json!("a; admin=1"), "p=a%3B%20admin%3D1"),
        (json!({ "in": "cookie", "style": "form" }), json!({ "a b": "c+d e" }), "a%20b=c%2Bd%20e"),
        (json!({ "in": "query", "style": "form", "explode": false }), json!([]), ""),
    ] {
        assert_eq!(travels(place.clone(), value), written, "{place}");
    }
    let definition = json!({
        "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/a/{p}", "method": "GET",
        "parameters": { "type": "object", "required": ["p"], "properties": { "p": {} } }, "places": { "p": { "in": "path", "style": "label" } },
    });
    let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
    for value in [json!("."), json!(""), json!([]), json!({}), json!(null)] {
        assert!(prepare(&tool, &json!({ "p": value })).is_err(), "{value} would be another path");
    }
}

/// The media type and the text of the body.
fn body_of(method: &str, body: Value, fields: Value, arguments: Value) -> Option<(String, String)> {
    let mut definition = json!({
        "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/", "method": method, "body": body,
        "parameters": { "type": "object", "properties": { "a": {}, "b": {}, "c": {} } },
    });
    definition.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let tool: ToolDefinition = serde_json::from_value(definition).expect("a definition");
    check(&tool).expect("a legal body");
    let prepared = prepare(&tool, &arguments).expect("a request");
    let media_type = prepared.headers.get(CONTENT_TYPE).map(|value| value.to_str().expect("text").to_owned());
    prepared.body.map(|bytes| (media_type.expect("what has a body says its type"), String::from_utf8(bytes).expect("text")))
}

#[test]
fn a_body_is_written_in_its_media_type_by_any_method_and_only_where_there_is_one() {
    let said = |media: &str, text: &str| Some((media.to_owned(), text.to_owned()));
    let given = json!({ "a": 1, "b": ["x y", "&"], "c": { "k": "v" } });
    assert_eq!(body_of("DELETE", json!({}), json!({}), json!({ "a": 1 })), said("application/json", r#"{"a":1}"#));
    let media = json!({ "media_type": "application/vnd.api+json" });
    assert_eq!(body_of("GET", media, json!({}), json!({ "a": 1 })), said("application/vnd.api+json", r#"{"a":1}"#));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        body_of("POST", json!({ "media_type": form }), json!({}), given.clone()),
        said(form, "a=1&b=x+y&b=%26&c=%7B%22k%22%3A%22v%22%7D")
    );
    let fields = json!({ "b": { "style": "deepObject" }, "c": { "style": "deepObject", "name": "o" } });
    let deep = json!({ "media_type": form, "fields": fields });
    assert_eq!(body_of("POST", deep, json!({}), given), said(form, "a=1&b%5B%5D=x%20y&b%5B%5D=%26&o%5Bk%5D=v"));
    for media in ["text/plain", "application/xml"] {
        let places = json!({ "places": { "a": { "in": "body" }, "b": { "in": "query" }, "c": { "in": "query" } } });
        assert_eq!(body_of("PUT", json!({ "media_type": media }), places, json!({ "a": "<x/>" })), said(media, "<x/>"));
    }
    let (never, if_given) = (json!({ "sent": "never" }), json!({ "sent": "if_given" }));
    assert_eq!(body_of("POST", never, json!({}), json!({ "a": 1 })), None, "what has no place goes in the query");
    assert_eq!(body_of("POST", if_given.clone(), json!({}), json!({})), None);
    assert_eq!(body_of("POST", if_given, json!({}), json!({ "a": null })), said("application/json", r#"{"a":null}"#));
}

#[test]
fn a_form_with_files_has_a_part_for_each_and_a_boundary_that_none_holds() {
    let fields = json!({ "a": { "file": true }, "c": { "media_type": "application/json", "name": "meta\"\r\n" } });
    let body = json!({ "media_type": "multipart/form-data", "fields": fields });
    let (media, text) = body_of("POST", body, json!({}), json!({ "a": "id,n\n1,x", "b": [1, true], "c": { "k": 1 } })).expect("a body");
    let boundary = media.strip_prefix("multipart/form-data; boundary=").expect("a boundary");
    let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
    assert_eq!(
        parts,
        [
            "",
            "\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\nContent-Type: application/octet-stream\r\n\r\nid,n\n1,x\r\n",
            "\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n",
            "\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\ntrue\r\n",
            "\r\nContent-Disposition: form-data; name=\"meta%22%0D%0A\"\r\nContent-Type: application/json\r\n\r\n{\"k\":1}\r\n",
            "--\r\n",
        ]
    );
}

#[test]
fn a_body_that_cannot_be_written_is_refused_with_the_definition() {
    let told = |body: Value, places: Value| {
        let definition = json!({
            "name": "t", "version": "1.0.0", "description": "d", "endpoint": "http://x.test/", "body": body, "places": places,
            "parameters": { "type": "object", "properties": { "a": {} } },
        });
        check(&serde_json::from_value(definition).expect("a definition")).expect_err("it is refused")
    };
    assert!(told(json!({ "media_type": "json" }), json!({})).contains("no media type"));
    assert!(told(json!({ "media_type": "a/b\r\nX: y" }), json!({})).contains("no media type"));
    assert!(told(json!({ "media_type": "text/plain" }), json!({})).contains("the text of one argument"));
    let whole = json!({ "a": { "in": "body" } });
    assert!(told(json!({ "media_type": "multipart/form-data" }), whole.clone()).contains("has fields"));
    assert!(told(json!({ "sent": "never" }), whole).contains("a method that has none"));
    assert!(told(json!({}), json!({ "a": { "in": "path" } })).contains("is not in the path"));
    assert!(told(json!({}), json!({ "a": { "in": "cookie", "name": "a b" } })).contains("cannot travel as the cookie"));
}

#[test]
fn whatever_is_called_json_is_written_as_json() {
    for media_type in ["application/json", "Text/JSON; charset=utf-8", "application/x-json", "application/vnd.api+json; ext=bulk"] {
        let written = body_of("POST", json!({ "media_type": media_type }), json!({}), json!({ "a": 1, "b": "x" }));
        assert_eq!(written, Some((media_type.to_owned(), r#"{"a":1,"b":"x"}"#.to_owned())), "{media_type}");
    }
}
