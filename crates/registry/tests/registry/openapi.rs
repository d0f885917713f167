//! Documents that become tools.

use maniple_core::tool::{AuthType, Carrier, Effect, Method, ToolDefinition};
use maniple_registry::Confirm;
use maniple_registry::openapi::{Import, ImportSettings, import};
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
    assert_eq!(import.left_out.iter().map(|note| note.place.as_str()).collect::<Vec<_>>(), ["GET /param"], "{:?}", import.left_out);
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
