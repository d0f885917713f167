//! Documents that become tools.

use maniple_core::tool::{AuthType, Carrier, Effect, Method, ToolDefinition};
use maniple_registry::Confirm;
use maniple_registry::openapi::{Configured, Import, ImportSettings};
use serde_json::{Value, json};
use std::fmt::Write;

const SHOP: &str = r##"
openapi: 3.0.3
info: { title: Shop, version: "2.1" }
servers: [{ url: "https://{region}.shop.test/v1/", variables: { region: { default: eu } } }]
security: [{ key: [] }]
paths:
  /orders/{id}:
    parameters:
      - { name: id, in: path, required: true, schema: { type: integer, minimum: 0, exclusiveMinimum: true } }
    get:
      operationId: orders.get
      summary: One order
      parameters:
        - { name: expand, in: query, schema: { type: array, items: { type: string, nullable: true } } }
        - { name: X-Request-Id, in: header, schema: { type: string } }
        - { name: session, in: cookie, schema: { type: string } }
      responses: { "200": { description: ok } }
    put:
      operationId: orders.put
      tags: [write]
      requestBody: { required: true, content: { application/json: { schema: { $ref: "#/components/schemas/Order" } } } }
      responses: { "200": { description: ok } }
    delete: { responses: { "204": { description: gone } }, security: [] }
  /orders:
    post:
      operationId: create order
      parameters: [{ name: dry, in: query, schema: { type: boolean } }]
      requestBody: { required: true, content: { application/json: { schema: { oneOf: [{ $ref: "#/components/schemas/Order" }, { type: array }] } } } }
      responses: {}
  /upload:
    post:
      requestBody: { required: true, content: { multipart/form-data: { schema: {} } } }
      responses: {}
  /tree:
    post:
      operationId: tree
      security: [{ oauth: [read] }]
      requestBody: { required: true, content: { application/json: { schema: { $ref: "#/components/schemas/Tree" } } } }
      responses: {}
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: X-Api-Key }
    oauth: { type: oauth2, flows: {} }
  schemas:
    Order: { type: object, required: [item], properties: { item: { type: string }, id: { type: integer } }, example: { item: x } }
    Tree: { type: object, properties: { children: { type: array, items: { $ref: "#/components/schemas/Tree" } } } }
"##;

/// As the node does it that has these credentials.
fn import(name: &str, text: &str, settings: &ImportSettings) -> maniple_core::Result<Import> {
    let keys = ["key", "shop-key", "k"].map(|name| (name.to_owned(), AuthType::ApiKey));
    let tokens = ["oauth", "shop-oauth"].map(|name| (name.to_owned(), AuthType::Oauth2));
    let configured: Configured = keys.into_iter().chain(tokens).collect();
    maniple_registry::openapi::import(name, text, settings, &configured)
}
fn imported(text: &str, change: impl FnOnce(&mut ImportSettings)) -> Import {
    let mut settings = ImportSettings::default();
    change(&mut settings);
    import("shop", text, &settings).unwrap()
}
fn tool<'a>(import: &'a Import, name: &str) -> &'a ToolDefinition {
    let names = || import.tools.iter().map(|tool| tool.definition.name.as_str()).collect::<Vec<_>>();
    let found = import.tools.iter().find(|tool| tool.definition.name == name);
    &found.unwrap_or_else(|| panic!("no {name} in {:?}", names())).definition
}

#[test]
fn each_operation_becomes_a_tool_that_is_what_its_method_is() {
    let import = imported(SHOP, |_| {});
    let get = tool(&import, "shop_orders_get");
    assert_eq!((get.method, get.effect(), get.version.to_string().as_str()), (Method::Get, Effect::Pure, "2.1.0"));
    assert_eq!(get.endpoint, "https://eu.shop.test/v1/orders/{id}");
    assert_eq!((get.auth_type, get.credential.as_deref()), (AuthType::ApiKey, Some("key")));
    assert_eq!(get.parameters["properties"]["id"], json!({ "type": "integer", "exclusiveMinimum": 0 }));
    assert_eq!(get.parameters["properties"]["expand"]["items"]["type"], json!(["string", "null"]));
    assert_eq!(get.parameters["required"], json!(["id"]));
    assert_eq!(get.places["X-Request-Id"].carrier, Carrier::Header);
    assert!(!get.places.contains_key("expand"), "a query is where a GET's arguments go anyway");

    let delete = tool(&import, "shop_delete_orders__id_");
    assert_eq!((delete.method, delete.auth_type), (Method::Delete, AuthType::None));
    assert_eq!(tool(&import, "shop_tree").auth_type, AuthType::Oauth2);
    assert_eq!(import.left_out.len(), 1);
    assert!(import.left_out[0].place == "POST /upload" && import.left_out[0].what.contains("multipart/form-data"), "{import:?}");
}

#[test]
fn parameters_and_body_are_one_object_and_each_goes_where_it_belongs() {
    let import = imported(SHOP, |_| {});
    let put = tool(&import, "shop_orders_put");
    assert_eq!(
        put.parameters["properties"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["body", "id"],
        "the body has an `id` of its own"
    );
    assert_eq!(put.places["body"].carrier, Carrier::Body);
    let create = tool(&import, "shop_create_order");
    assert_eq!((create.places["dry"].carrier, create.places["body"].carrier), (Carrier::Query, Carrier::Body));
    let tree = tool(&import, "shop_tree");
    assert_eq!(tree.parameters["properties"]["children"]["items"], json!({ "$ref": "#/$defs/Tree" }));
    assert_eq!(tree.parameters["$defs"]["Tree"]["properties"]["children"]["items"]["$ref"], "#/$defs/Tree");
}

#[test]
fn what_put_and_delete_stand_for_is_proposed_and_only_taken_when_confirmed() {
    let import = imported(SHOP, |_| {});
    let proposed = |name: &str| import.tools.iter().find(|tool| tool.definition.name == name).unwrap().proposed;
    assert_eq!((proposed("shop_orders_put"), tool(&import, "shop_orders_put").effect()), (Some(Effect::Idempotent), Effect::AtMostOnce));
    assert_eq!((proposed("shop_create_order"), proposed("shop_orders_get")), (None, None));
    let confirmed = imported(SHOP, |settings| settings.confirm = Confirm::These(["shop_orders_put".into()].into()));
    assert_eq!(tool(&confirmed, "shop_orders_put").effect(), Effect::Idempotent);
    assert_eq!(tool(&confirmed, "shop_delete_orders__id_").effect(), Effect::AtMostOnce);
    let all = imported(SHOP, |settings| settings.confirm = Confirm::All);
    assert_eq!(tool(&all, "shop_delete_orders__id_").effect(), Effect::Idempotent);
}

#[test]
fn an_operator_says_where_it_is_what_opens_it_and_how_much_of_it() {
    let import = imported(SHOP, |settings| {
        settings.base_url = Some("http://127.0.0.1:9/api".into());
        settings.credential = Some("shop-key".into());
        settings.include = vec!["write".into(), "tree".into()];
        settings.credentials = [("oauth".to_owned(), "shop-oauth".to_owned())].into();
    });
    let seen: Vec<_> = import.tools.iter().map(|tool| (tool.definition.endpoint.as_str(), tool.definition.credential.as_deref())).collect();
    assert_eq!(seen, [("http://127.0.0.1:9/api/orders/{id}", Some("shop-key")), ("http://127.0.0.1:9/api/tree", Some("shop-oauth"))]);
}

#[test]
fn a_document_that_is_none_is_refused_with_the_reason() {
    let told = |text: &str| import("", text, &ImportSettings::default()).unwrap_err().to_string();
    for (text, why) in [
        ("{", "no JSON"),
        ("- a\n- b", "no `openapi` version"),
        ("{\"swagger\":\"2.0\"}", "Swagger 2.0 is not read"),
        ("openapi: 4.0.0", "OpenAPI 4.0.0 is not read"),
        ("openapi: 3.1.0\npaths: {}", "no operations"),
        ("openapi: 3.1.0\npaths: 7", "no operations"),
    ] {
        assert!(told(text).contains(why), "{text}: {}", told(text));
    }
    let aliases = format!(
        "a0: &a0 x\n{}openapi: 3.1.0\n",
        (1..40).fold(String::new(), |mut all, n| {
            let _ = writeln!(all, "a{n}: &a{n} [*a{0}, *a{0}]", n - 1);
            all
        })
    );
    assert!(!told(&aliases).is_empty(), "a tower of aliases is not unfolded");
    assert!(told(&"x".repeat((16 << 20) + 1)).contains("bytes"));
}

#[test]
fn what_is_hostile_or_odd_in_one_operation_costs_that_operation_at_most() {
    let operation = |id: &str, schema: Value| json!({ "operationId": id, "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } } });
    let mut deep = json!({ "type": "string" });
    for _ in 0..60 {
        deep = json!({ "type": "array", "items": deep });
    }
    let fan: serde_json::Map<String, Value> =
        (0..40).map(|n| (format!("S{n}"), json!({ "allOf": [{ "$ref": format!("#/components/schemas/S{}", n + 1) }, { "$ref": format!("#/components/schemas/S{}", n + 1) }] }))).collect();
    let document = json!({
        "openapi": "3.1.0", "servers": [{ "url": "https://x.test" }], "info": { "version": 7 },
        "paths": {
            "/deep": { "post": operation("deep", deep) },
            "/fan": { "post": operation("fan", json!({ "$ref": "#/components/schemas/S0" })) },
            "/far": { "post": operation("far", json!({ "$ref": "http://169.254.169.254/x.json" })) },
            "/loop": { "$ref": "#/paths/~1loop" },
            "/param": { "get": { "operationId": "param", "parameters": [7] } },
            "/same": { "get": { "operationId": "same" }, "post": { "operationId": "same" } },
            "/long": { "get": { "operationId": "x".repeat(500) } },
            "/fine": { "get": { "operationId": "fine", "deprecated": true } },
        },
        "components": { "schemas": fan },
    });
    let import = imported(&document.to_string(), |_| {});
    let names: Vec<&str> = import.tools.iter().map(|tool| tool.definition.name.as_str()).collect();
    for tool in &import.tools {
        maniple_registry::catalog::check(&tool.definition).unwrap();
    }
    assert!(names.contains(&"shop_fine") && names.contains(&"shop_far") && names.contains(&"shop_deep"), "{names:?}");
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
    assert_eq!(names.iter().filter(|name| name.starts_with("shop_same")).count(), 2, "{names:?}");
    assert_eq!(
        import.left_out.iter().map(|note| note.place.as_str()).collect::<Vec<_>>(),
        ["/loop", "GET /param"],
        "{:?}",
        import.left_out
    );
    assert!(tool(&import, "shop_fine").deprecated.is_some());
    assert_eq!(tool(&import, "shop_fine").version.to_string(), "7.0.0");
}

#[test]
fn references_are_followed_whatever_the_components_are_called() {
    let body = |schema: &str| json!({ "required": true, "content": { "application/json": { "schema": { "$ref": schema } } } });
    let document = json!({
        "openapi": "3.1.0", "servers": [{ "url": "https://x.test" }],
        "paths": {
            "/odd": { "post": { "operationId": "odd", "requestBody": body("#/components/schemas/a~1b") } },
            "/below": { "post": { "operationId": "below", "requestBody": body("#/components/schemas/Whole/properties/part") } },
        },
        "components": { "schemas": {
            "a/b": { "type": "object", "properties": { "next": { "$ref": "#/components/schemas/a~1b" } } },
            "Whole": { "type": "object", "properties": { "part": { "oneOf": [{ "type": "integer" }, { "$ref": "#/components/schemas/Whole/properties/name" }] }, "name": { "type": "string" } } },
        } },
    });
    let import = imported(&document.to_string(), |_| {});
    assert_eq!(tool(&import, "shop_odd").parameters["$defs"]["a/b"]["properties"]["next"]["$ref"], "#/$defs/a~1b");
    let below = tool(&import, "shop_below");
    let validator = maniple_core::schema::Validator::compile(&below.parameters).unwrap();
    assert!(validator.check(&json!({ "body": "x" })).is_ok() && validator.check(&json!({ "body": true })).is_err(), "{}", below.parameters);
}

#[test]
fn a_document_of_a_thousand_operations_becomes_a_thousand_tools() {
    let paths: serde_json::Map<String, Value> = (0..1_000)
        .map(|n| {
            let operation = json!({
                "operationId": format!("op{n}"), "summary": "Does it.",
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } },
            });
            (format!("/things{n}/{{id}}"), json!({ "post": operation }))
        })
        .collect();
    let document = json!({
        "openapi": "3.1.0", "servers": [{ "url": "https://x.test" }], "paths": paths,
        "components": { "schemas": {
            "A": { "type": "object", "properties": { "b": { "$ref": "#/components/schemas/B" } } },
            "B": { "type": "object", "properties": { "a": { "$ref": "#/components/schemas/A" }, "n": { "type": "integer" } } },
        } },
    });
    let began = std::time::Instant::now();
    let import = imported(&document.to_string(), |_| {});
    println!("1,000 operations in {:?}", began.elapsed());
    assert_eq!((import.tools.len(), import.left_out.len()), (1_000, 0));
    assert!(import.tools.iter().all(|tool| tool.definition.parameters["$defs"]["B"].is_object()));
}

#[test]
fn parameters_that_would_take_each_others_names_travel_where_they_belong() {
    let document = r##"{ "openapi": "3.1.0", "info": { "version": "1.0.0" }, "servers": [{ "url": "https://x.test" }], "paths": {
        "/orgs/{id}/users/{path_id}": { "get": { "operationId": "user", "summary": "s", "parameters": [
            { "name": "id", "in": "query", "schema": { "type": "string" } },
            { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
            { "name": "path_id", "in": "path", "required": true, "schema": { "type": "string" } } ] } } } }"##;
    let import = imported(document, |_| {});
    let endpoint = &import.tools[0].definition.endpoint;
    let filled: Vec<&str> = endpoint.split('{').skip(1).map(|piece| piece.split('}').next().unwrap()).collect();
    assert!(filled.len() == 2 && filled[0] != filled[1], "{endpoint}");
}

#[test]
fn a_path_does_not_choose_another_host_or_port_than_its_server() {
    for path in ["1/admin", ".evil.test/x", "@evil.test/x", ":9200/x"] {
        let document = format!(
            r##"{{ "openapi": "3.1.0", "info": {{ "version": "1.0.0" }}, "paths": {{ "{path}": {{ "post": {{ "operationId": "evil", "summary": "s" }} }} }} }}"##
        );
        let import = imported(&document, |settings| settings.base_url = Some("http://127.0.0.1:1930".into()));
        assert!(import.tools.is_empty() && import.left_out[0].what.contains("must begin with /"), "{path}: {import:?}");
    }
}

/// A document of these paths.
fn document(paths: Value, more: Value) -> Value {
    let mut document =
        json!({ "openapi": "3.0.3", "info": { "version": "1.0.0" }, "servers": [{ "url": "https://x.test" }], "paths": paths });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}
fn body(media_type: &str, schema: Value, required: bool) -> Value {
    json!({ "required": required, "content": { media_type: { "schema": schema } } })
}

#[test]
fn parameters_are_written_as_the_document_says_and_nothing_is_said_where_that_is_usual() {
    let list = json!({ "type": "array", "items": { "type": "string" } });
    let object = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let parameters = json!([
        { "name": "usual", "in": "query", "schema": list },
        { "name": "text", "in": "query", "style": "form", "explode": false, "schema": { "type": "string" } },
        { "name": "csv", "in": "query", "explode": false, "schema": list },
        { "name": "pipes", "in": "query", "style": "pipeDelimited", "schema": list },
        { "name": "deep", "in": "query", "style": "deepObject", "explode": true, "schema": object },
        { "name": "spread", "in": "query", "schema": { "$ref": "#/components/schemas/O%62j" } },
        { "name": "json", "in": "query", "content": { "application/json": { "schema": object } } },
        { "name": "as_it_is", "in": "query", "allowReserved": true, "schema": { "type": "string" } },
        { "name": "sid", "in": "cookie", "schema": { "type": "string" } },
        { "name": "X-List", "in": "header", "schema": list },
        { "name": "ids", "in": "path", "required": true, "schema": list },
        { "name": "Content-Type", "in": "header", "required": true, "schema": { "type": "string" } },
    ]);
    let get = json!({ "operationId": "get", "parameters": parameters });
    let paths = json!({ "/a/{ids}/{undescribed}": { "get": get } });
    let import = imported(&document(paths, json!({ "components": { "schemas": { "Obj": object } } })).to_string(), |_| {});
    let get = tool(&import, "shop_get");
    let expected = json!({
        "csv": { "in": "query", "style": "form", "explode": false }, "pipes": { "in": "query", "style": "pipeDelimited" },
        "deep": { "in": "query", "style": "deepObject", "explode": true }, "spread": { "in": "query", "style": "form" },
        "json": { "in": "query", "style": "json" }, "as_it_is": { "in": "query", "allow_reserved": true },
        "sid": { "in": "cookie" }, "X-List": { "in": "header", "style": "simple" }, "ids": { "in": "path", "style": "simple" },
    });
    assert_eq!(serde_json::to_value(&get.places).unwrap(), expected);
    assert_eq!(get.parameters["required"], json!(["ids", "undescribed"]), "a piece of the path is needed, described or not");
    assert!(import.tools[0].notes[0].contains("does not describe `undescribed`"), "{:?}", import.tools[0].notes);
}

#[test]
fn a_body_is_sent_in_the_media_type_that_suits_best_by_whatever_method() {
    let charge = json!({ "type": "object", "required": ["amount"], "properties": { "amount": { "type": "integer" }, "currency": { "type": "string" } } });
    let file = json!({ "type": "object", "properties": { "file": { "type": "string", "format": "binary" }, "tags": { "type": "array" } } });
    let both = json!({ "required": true, "content": { "application/xml": { "schema": charge }, "application/merge-patch+json": { "schema": charge }, "application/json": { "schema": charge } } });
    let of = |method: &str, id: &str, body: Value| (format!("/{id}"), json!({ method: { "operationId": id, "requestBody": body } }));
    let paths: serde_json::Map<String, Value> = [
        of("post", "form", body("application/x-www-form-urlencoded", charge.clone(), true)),
        of("post", "maybe", body("application/x-www-form-urlencoded", charge.clone(), false)),
        of("post", "upload", body("multipart/form-data", file, true)),
        of("post", "plain", body("text/json; charset=utf-8", charge.clone(), true)),
        of("patch", "merge", body("application/merge-patch+json", charge.clone(), true)),
        of("patch", "list", body("application/json-patch+json", json!({ "type": "array" }), true)),
        of("patch", "both", both),
        of("get", "search", body("application/json", charge.clone(), false)),
        of("delete", "rows", body("application/vnd.api+json; ext=bulk", charge.clone(), true)),
        of("put", "note", body("text/plain", json!({ "type": "string" }), true)),
        of("post", "xml", body("application/xml", charge.clone(), true)),
        of("post", "maybe_xml", body("application/xml", charge, false)),
        (
            "/bare".into(),
            json!({ "post": { "operationId": "bare", "parameters": [{ "name": "q", "in": "query", "schema": { "type": "string" } }] } }),
        ),
    ]
    .into_iter()
    .collect();
    let import = imported(&document(paths.into(), json!({})).to_string(), |_| {});
    let body = |name: &str| serde_json::to_value(&tool(&import, &format!("shop_{name}")).body).unwrap();
    let form = "application/x-www-form-urlencoded";
    assert_eq!(body("form"), json!({ "media_type": form }));
    assert_eq!(body("maybe"), json!({ "media_type": form, "sent": "if_given" }));
    let maybe = &tool(&import, "shop_maybe").parameters;
    assert_eq!((maybe.get("required"), &maybe["dependentRequired"]), (None, &json!({ "currency": ["amount"] })));
    assert_eq!(body("upload"), json!({ "media_type": "multipart/form-data", "fields": { "file": { "file": true } } }));
    assert_eq!(body("plain"), json!({ "media_type": "text/json; charset=utf-8" }));
    assert_eq!(body("merge"), json!({ "media_type": "application/merge-patch+json" }));
    assert_eq!(
        (body("list"), tool(&import, "shop_list").places["body"].carrier),
        (json!({ "media_type": "application/json-patch+json" }), Carrier::Body)
    );
    assert_eq!(body("both"), Value::Null, "plain JSON of a PATCH is what is usual");
    assert_eq!(body("search"), json!({ "sent": "if_given" }));
    assert_eq!(body("rows"), json!({ "media_type": "application/vnd.api+json; ext=bulk" }));
    assert_eq!(
        (body("note"), &tool(&import, "shop_note").parameters["required"]),
        (json!({ "media_type": "text/plain" }), &json!(["body"]))
    );
    assert_eq!((body("bare"), tool(&import, "shop_bare").places.len()), (json!({ "sent": "never" }), 0));
    assert_eq!(import.left_out.iter().map(|note| note.place.as_str()).collect::<Vec<_>>(), ["POST /xml"]);
    assert!(import.left_out[0].what.contains("application/xml"));
    let maybe_xml = import.tools.iter().find(|tool| tool.definition.name == "shop_maybe_xml").unwrap();
    assert!(maybe_xml.notes.iter().any(|note| note.contains("without a body")), "{:?}", maybe_xml.notes);
}

#[test]
fn what_is_read_only_is_neither_offered_nor_needed_wherever_it_stands() {
    let pet = json!({ "type": "object", "required": ["id", "name"], "properties": {
        "id": { "$ref": "#/components/schemas/Id" }, "name": { "type": "string" }, "secret": { "type": "string", "writeOnly": true } } });
    let schemas = json!({
        "Id": { "type": "integer", "readOnly": true }, "Pet": pet,
        "Dog": { "allOf": [{ "$ref": "#/components/schemas/Pet" }, { "type": "object", "required": ["id", "breed"], "properties": { "breed": { "type": "string" } } }] },
        "Base": { "type": "object", "required": ["at", "x"], "properties": { "at": {}, "x": {} } },
        "Stamped": { "allOf": [{ "$ref": "#/components/schemas/Base" }, { "properties": { "at": { "type": "string", "readOnly": true } } }] },
        "Kennel": { "type": "object", "properties": { "dogs": { "type": "array", "items": { "$ref": "#/components/schemas/Pet" } } } },
    });
    let of = |name: &str| {
        (
            format!("/{name}"),
            json!({ "post": { "operationId": name, "requestBody": body("application/json", json!({ "$ref": format!("#/components/schemas/{name}") }), true) } }),
        )
    };
    let paths: serde_json::Map<String, Value> = ["Pet", "Dog", "Stamped", "Kennel"].map(of).into_iter().collect();
    let import = imported(&document(paths.into(), json!({ "components": { "schemas": schemas } })).to_string(), |_| {});
    for (name, right, wrong) in [
        ("Pet", json!({ "name": "rex", "secret": "s" }), json!({})),
        ("Dog", json!({ "body": { "name": "rex", "breed": "x" } }), json!({ "body": { "name": "rex" } })),
        ("Stamped", json!({ "body": { "x": 1 } }), json!({ "body": {} })),
        ("Kennel", json!({ "dogs": [{ "name": "rex" }] }), json!({ "dogs": [{}] })),
    ] {
        let parameters = &tool(&import, &format!("shop_{name}")).parameters;
        let validator = maniple_core::schema::Validator::compile(parameters).unwrap();
        assert!(validator.check(&right).is_ok() && validator.check(&wrong).is_err(), "{name}: {parameters}");
    }
    assert_eq!(tool(&import, "shop_Pet").parameters["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), ["name", "secret"]);
}

#[test]
fn the_first_security_alternative_that_a_credential_serves_is_taken() {
    let schemes = json!({
        "oauth": { "type": "oauth2", "flows": {} }, "other": { "type": "openIdConnect" }, "key": { "type": "apiKey", "in": "cookie", "name": "sid" },
        "strange": { "type": "mutualTLS" }, "name/slash": { "type": "http", "scheme": "bearer" },
    });
    let of = |settings: &ImportSettings, ways: Value| {
        let paths = json!({ "/a": { "get": { "operationId": "a", "security": ways } } });
        let text = document(paths, json!({ "components": { "securitySchemes": schemes } })).to_string();
        let import = import("shop", &text, settings).unwrap();
        import
            .tools
            .first()
            .map(|tool| (tool.definition.auth_type, tool.definition.credential.clone()))
            .ok_or_else(|| import.left_out[0].what.clone())
    };
    let served = |credential: &str, auth_type| Ok((auth_type, Some(credential.to_owned())));
    let unsaid = ImportSettings::default();
    assert_eq!(of(&unsaid, json!([{ "other": [] }, { "key": [] }])), served("key", AuthType::ApiKey), "nobody has one for `other`");
    assert_eq!(of(&unsaid, json!([{ "oauth": [] }, { "key": [] }])), served("oauth", AuthType::Oauth2));
    assert_eq!(of(&unsaid, json!([{ "strange": [] }, {}])), Ok((AuthType::None, None)));
    assert_eq!(of(&unsaid, json!([])), Ok((AuthType::None, None)));
    let mapped = ImportSettings { credentials: [("other".to_owned(), "k".to_owned())].into(), ..ImportSettings::default() };
    assert_eq!(of(&mapped, json!([{ "other": [] }])), served("k", AuthType::ApiKey), "a key that does not expire serves a scheme of OAuth");
    let one = ImportSettings { credential: Some("shop-key".into()), ..ImportSettings::default() };
    assert_eq!(of(&one, json!([{ "name/slash": [] }])), served("shop-key", AuthType::ApiKey));
    for (ways, why) in [
        (json!([{ "other": [] }]), "there is no credential `other`"),
        (json!([{ "oauth": [], "key": [] }]), "several at once"),
        (json!([{ "strange": [] }]), "`strange` (mutualTLS) is of a sort"),
    ] {
        let told = of(&unsaid, ways.clone()).unwrap_err();
        assert!(told.contains(why), "{ways}: {told}");
    }
}

#[test]
fn a_server_is_read_with_its_variables_and_from_where_the_document_came() {
    let endpoint = |servers: Value, url: Option<&str>| {
        let mut whole = document(json!({ "/a": { "get": { "operationId": "a" } } }), json!({ "servers": servers }));
        if servers.is_null() {
            whole.as_object_mut().unwrap().remove("servers");
        }
        let settings = ImportSettings { url: url.map(str::to_owned), ..ImportSettings::default() };
        let import = import("shop", &whole.to_string(), &settings).unwrap();
        import.tools.first().map(|tool| tool.definition.endpoint.clone()).ok_or_else(|| import.left_out[0].what.clone())
    };
    let at = Some("https://docs.test/api/v2/openapi.yaml");
    let variables = json!({ "port": { "default": 8443 }, "base": { "enum": ["v1", "v2"] } });
    for (servers, url, expected) in [
        (json!([{ "url": "https://x.test:{port}/{base}", "variables": variables }]), None, "https://x.test:8443/v1/a"),
        (json!([{ "url": "../v3/" }]), at, "https://docs.test/api/v3/a"),
        (json!([{ "url": "/" }]), at, "https://docs.test/a"),
        (json!([{ "url": "//y.test/b" }]), at, "https://y.test/b/a"),
        (json!([{ "url": "https://x.test/b?key=1" }]), None, "https://x.test/b/a?key=1"),
        (json!([]), at, "https://docs.test/a"),
        (Value::Null, at, "https://docs.test/a"),
    ] {
        assert_eq!(endpoint(servers.clone(), url).as_deref(), Ok(expected), "{servers}");
    }
    for (servers, why) in [
        (
            json!([{ "url": "https://{region}.x.test", "variables": { "region": {} } }]),
            "a variable `region` without a default: say `base_url`",
        ),
        (json!([{ "url": "/v1" }]), "is relative: say `base_url`"),
        (Value::Null, "names no server: say `base_url`"),
    ] {
        assert!(endpoint(servers.clone(), None).unwrap_err().contains(why), "{servers}");
    }
}

#[test]
fn only_operations_that_are_included_count_towards_the_bound_and_every_other_one_is_said() {
    let mut paths: serde_json::Map<String, Value> =
        (0..6_000).map(|n| (format!("/{n}"), json!({ "get": { "operationId": format!("op{n}") } }))).collect();
    paths.insert("/trace".into(), json!({ "trace": { "operationId": "t" }, "get": { "operationId": "kept" } }));
    paths.insert("/elsewhere".into(), json!({ "$ref": "other.yaml#/paths/~1x" }));
    let text = document(paths.into(), json!({})).to_string();
    let settings = ImportSettings { include: vec!["op1".into(), "kept".into(), "t".into()], ..ImportSettings::default() };
    let taken = import("", &text, &settings).unwrap();
    assert_eq!(taken.tools.iter().map(|tool| tool.definition.name.as_str()).collect::<Vec<_>>(), ["op1", "kept"]);
    assert_eq!(taken.left_out.iter().map(|note| note.place.as_str()).collect::<Vec<_>>(), ["/elsewhere", "TRACE /trace"]);
    let all = import("", &text, &ImportSettings::default()).unwrap_err();
    assert!(all.to_string().contains("more than 5000 operations of the document are included"), "{all}");
}

#[test]
fn references_are_read_as_parts_of_a_url_and_those_that_lead_nowhere_are_said() {
    let schema = |reference: &str| json!({ "type": "object", "properties": { "p": { "$ref": reference } } });
    let of = |id: &str, reference: &str| {
        (format!("/{id}"), json!({ "post": { "operationId": id, "requestBody": body("application/json", schema(reference), true) } }))
    };
    let mut paths: serde_json::Map<String, Value> = [
        of("plain", "#/components/schemas/Page%C2%ABUser%C2%BB"),
        of("path", "#/paths/~1users~1%7Bid%7D/get/responses/200/content/application~1json/schema"),
        of("far", "other.json#/X"),
        of("gone", "#/components/schemas/Gone"),
    ]
    .into_iter()
    .collect();
    let answer = json!({ "200": { "content": { "application/json": { "schema": { "type": "integer" } } } } });
    paths.insert("/users/{id}".into(), json!({ "get": { "operationId": "user", "responses": answer } }));
    let import = imported(
        &document(paths.into(), json!({ "components": { "schemas": { "Page«User»": { "type": "integer" } } } })).to_string(),
        |_| {},
    );
    for name in ["plain", "path"] {
        let parameters = &tool(&import, &format!("shop_{name}")).parameters;
        let validator = maniple_core::schema::Validator::compile(parameters).unwrap();
        assert!(validator.check(&json!({ "p": 1 })).is_ok() && validator.check(&json!({ "p": "x" })).is_err(), "{parameters}");
    }
    for (name, why) in [("far", "`other.json#/X` is not in this document"), ("gone", "`#/components/schemas/Gone` leads nowhere")] {
        let found = import.tools.iter().find(|tool| tool.definition.name == format!("shop_{name}")).unwrap();
        assert!(found.notes.iter().any(|note| note.contains(why)), "{:?}", found.notes);
    }
}

#[test]
fn yaml_is_1_2_and_what_a_window_writes_is_read() {
    let text = "openapi: 3.0\ninfo: { version: 1 }\nservers: [{ url: https://x.test }]\npaths:\n  /a:\n    get:\n      operationId: on\n      parameters:\n        - { name: y, in: query, schema: { type: string, enum: [NO, on, 017, 1_000, 12:30] } }\n      responses: { 200: { description: ok } }\n";
    for text in [text.to_owned(), format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
        let import = imported(&text, |_| {});
        assert_eq!(tool(&import, "shop_on").parameters["properties"]["y"]["enum"], json!(["NO", "on", "017", "1_000", "12:30"]));
    }
    let json = document(json!({ "/a": { "get": { "operationId": "a" } } }), json!({})).to_string();
    assert_eq!(imported(&format!("\u{feff}{json}"), |_| {}).tools.len(), 1);
}

#[tokio::test]
async fn what_is_left_out_is_said_once_and_bounded() {
    use maniple_core::{ports::ToolRegistry as _, tool::LeftOut};
    let registry = crate::server::registry();
    let origin = maniple_registry::Origin::Openapi { document: "api".into(), has_base_url: false };
    let one = |n: usize| LeftOut { from: origin.collection(), place: format!("GET /{n}"), name: None, why: "w".into() };
    assert_eq!(registry.set_left_out(&origin, vec![one(1), one(2)]), vec![one(1), one(2)]);
    assert_eq!(registry.set_left_out(&origin, vec![one(2), one(3)]), vec![one(3)], "what is known was said");
    assert_eq!(registry.left_out().await.unwrap(), vec![one(2), one(3)]);
    registry.set_left_out(&origin, (0..1_500).map(one).collect());
    let told = registry.left_out().await.unwrap();
    assert_eq!((told.len(), told[1_000].place.as_str()), (1_001, "500 more"));
}

#[test]
fn many_operations_share_what_their_schemas_may_weigh_and_the_near_ones_stay() {
    let schemas: serde_json::Map<String, Value> = (0..400)
        .map(|n| {
            let next = json!({ "$ref": format!("#/components/schemas/S{}", (n + 1) % 400) });
            let words = "words ".repeat(40);
            (format!("S{n}"), json!({ "type": "object", "properties": { "next": next, "n": { "type": "integer", "description": words } } }))
        })
        .collect();
    let paths = |count: usize| -> Value {
        let of = |n| {
            (
                format!("/{n}"),
                json!({ "post": { "operationId": format!("o{n}"), "requestBody": body("application/json", json!({ "$ref": "#/components/schemas/S0" }), true) } }),
            )
        };
        (0..count).map(of).collect::<serde_json::Map<_, _>>().into()
    };
    for (count, least, most) in [(1, 30_000, 40_000), (2_000, 1_500, 6_000)] {
        let import = imported(&document(paths(count), json!({ "components": { "schemas": schemas } })).to_string(), |_| {});
        let tool = &import.tools[0];
        let bytes = tool.definition.parameters.to_string().len();
        assert!((least..most).contains(&bytes), "{count}: {bytes}");
        let near = &tool.definition.parameters["$defs"]["S1"]["properties"]["n"]["type"];
        assert_eq!(near, "integer", "{}", tool.definition.parameters);
        assert!(tool.notes.iter().any(|note| note.contains("cut after")), "{:?}", tool.notes);
    }
}

#[test]
fn schemas_that_refer_to_themselves_many_times_are_read_as_fast_as_any() {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let many = |name: &str| Value::from(vec![reference(name); 50]);
    let hidden = json!({ "type": "object", "properties": { "id": { "type": "integer", "readOnly": true } } });
    let schemas = json!({
        "One": { "oneOf": many("One") },
        "Form": { "properties": { "a": { "type": "string" } }, "anyOf": many("Form"), "allOf": many("Form"), "required": ["a"] },
        "Needing": { "required": ["id"], "allOf": many("Needing") },
        "Needs": { "allOf": [hidden, reference("Needing")] },
    });
    let post = |id: &str, media_type: &str, name: &str| json!({ "post": { "operationId": id, "requestBody": body(media_type, reference(name), true) } });
    let paths = json!({
        "/one": post("one", "application/json", "One"),
        "/form": post("form", "application/x-www-form-urlencoded", "Form"),
        "/needs": post("needs", "application/json", "Needs"),
    });
    let text = document(paths, json!({ "components": { "schemas": schemas } })).to_string();
    let (done, reads) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(imported(&text, |_| {})));
    let import = reads.recv_timeout(std::time::Duration::from_secs(20)).expect("it is read at all");
    assert_eq!(import.tools.len(), 3, "{:?}", import.left_out);
    assert_eq!(tool(&import, "shop_form").parameters["required"], json!(["a"]));
}

#[test]
fn what_a_tool_takes_does_not_depend_on_which_others_are_included() {
    let words = "words ".repeat(40);
    let schemas: serde_json::Map<String, Value> = (0..400)
        .map(|n| {
            let next = json!({ "$ref": format!("#/components/schemas/S{}", (n + 1) % 400) });
            (format!("S{n}"), json!({ "type": "object", "description": words, "properties": { "next": next } }))
        })
        .collect();
    let of = |n: usize| {
        let wanted = json!({ "type": "object", "properties": { "first": { "$ref": "#/components/schemas/S0" } } });
        (format!("/{n}"), json!({ "post": { "operationId": format!("o{n}"), "requestBody": body("application/json", wanted, true) } }))
    };
    let text = |count: usize| {
        let paths: serde_json::Map<String, Value> = (0..count).map(of).collect();
        document(paths.into(), json!({ "components": { "schemas": schemas } })).to_string()
    };
    let parameters = |text: &str, include: &[&str]| {
        let import = imported(text, |settings| settings.include = include.iter().map(|&wanted| wanted.to_owned()).collect());
        tool(&import, "shop_o7").parameters.clone()
    };
    let all = parameters(&text(600), &[]);
    assert_eq!(parameters(&text(600), &["o7"]), all);
    assert_eq!(parameters(&text(601), &["o7", "o9"]), all, "nor on an operation more in the document");
}
