//! The description holds together: it leads somewhere, says how calls are refused, and is the one that is written.

use super::*;

#[test]
fn every_body_has_examples_that_its_reader_takes_and_every_parameter_says_whether_it_is_required() {
    for operation in TABLE {
        let written = described(operation, false);
        for parameter in written["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["required"].is_boolean(), "{parameter}");
        }
        let Some(body) = written.get("requestBody") else { continue };
        let examples = body["content"]["application/json"]["examples"].as_object().unwrap();
        assert!(!examples.is_empty(), "{}", operation.path);
        for (name, example) in examples {
            let read = match operation.body.as_ref().unwrap().schema {
                "TaskRequest" => TaskRequest::read(&example["value"]).map(drop),
                "Decision" => approvals::Decision::read(&example["value"]).map(drop),
                "ResolveRequest" => tools::ResolveRequest::read(&example["value"]).map(drop),
                "CallToInvoke" | "CallToAdmit" | "CallToProbe" => tools::CallRequest::read(&example["value"]).map(drop),
                _ => Ok(()),
            };
            assert!(read.is_ok(), "{} {name}: {read:?}", operation.path);
        }
    }
}

#[test]
fn every_link_leads_to_a_call_and_names_its_parameters() {
    let document = document(Ceilings::default());
    let operations = || document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let mut followed = 0;
    for response in operations().flat_map(|operation| operation["responses"].as_object().unwrap().values()) {
        for link in response.get("links").and_then(Value::as_object).into_iter().flat_map(|links| links.values()) {
            let to = operations().find(|operation| operation["operationId"] == link["operationId"]).expect("it leads somewhere");
            for name in link["parameters"].as_object().unwrap().keys() {
                assert!(to["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == *name), "{link}");
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed}");
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_id_is_one_of_its_kind() {
    let document = document(Ceilings::default());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let operations = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[test]
fn every_operation_says_how_it_is_refused() {
    for (path, item) in document(Ceilings::default())["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("405") && responses.contains_key("500"), "{method} {path}");
            assert_eq!(responses.contains_key("401"), operation.get("security").is_some(), "{method} {path}");
            assert_eq!(responses.contains_key("413"), method == "post", "{method} {path}");
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let said = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name && p["in"] == "path");
                assert!(said, "{method} {path} does not describe {name}");
            }
        }
    }
}

#[test]
fn the_written_description_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/openapi.json");
    let generated = format!("{:#}\n", document(Ceilings::default()));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == generated, "schemas/openapi.json is not what the code says: run this test with UPDATE=1 and look at the difference");
}
