//! The events of a task as schemas: one for each type, and what a stream sends.

use maniple_core::{
    event::{
        ApprovalDecided, ApprovalRequested, EventKind, ModelFailed, ModelFinished, ModelStarted, Parked, Resumed, Started, TakenOver,
        ToolFinished, ToolStarted,
    },
    ports::Delta,
    task::{AgentResult, Task},
};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Found, add};
use crate::event::DELTA;

/// The name of the schema of an event's data; with `found`, its schema and those it needs.
fn data(kind: EventKind, found: &mut Found) -> String {
    match kind {
        EventKind::Accepted => named::<Task>(found),
        EventKind::Started => named::<Started>(found),
        EventKind::ModelStarted => named::<ModelStarted>(found),
        EventKind::ModelFailed => named::<ModelFailed>(found),
        EventKind::ModelFinished => named::<ModelFinished>(found),
        EventKind::ToolStarted => named::<ToolStarted>(found),
        EventKind::ToolFinished => named::<ToolFinished>(found),
        EventKind::ApprovalRequested => named::<ApprovalRequested>(found),
        EventKind::ApprovalDecided => named::<ApprovalDecided>(found),
        EventKind::Parked => named::<Parked>(found),
        EventKind::Resumed => named::<Resumed>(found),
        EventKind::TakenOver => named::<TakenOver>(found),
        EventKind::Completed | EventKind::Failed | EventKind::Cancelled => named::<AgentResult>(found),
    }
}

fn named<T: ToSchema>(found: &mut Found) -> String {
    add::<T>(found);
    T::name().into_owned()
}

/// `task.accepted` as the name of a schema: `TaskAcceptedEvent`.
fn schema_name(event: &str) -> String {
    let word = |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    event.split(['.', '_']).map(word).chain(["Event".to_owned()]).collect()
}

/// The schemas of the events themselves; those of their data go to `found`.
pub(super) fn schemas(found: &mut Found) -> Map<String, Value> {
    let mut written = Map::new();
    let mut mapping = Map::new();
    let mut one = |event: &str, data: &str, numbered: bool| {
        let mut schema = json!({
            "type": "object",
            "required": ["type", "task_id", "step", "data"],
            "properties": {
                "type": { "type": "string", "const": event },
                "task_id": { "type": "string", "description": "The task." },
                "step": { "type": "integer", "minimum": 0, "description": "The step it belongs to; 0 before the first." },
                "data": { "$ref": format!("#/components/schemas/{data}") },
            },
        });
        if numbered {
            schema["required"] = json!(["id", "type", "task_id", "at", "step", "data"]);
            schema["properties"]["id"] = json!({ "type": "integer", "minimum": 1, "description": "1, 2, 3 … without gaps." });
            schema["properties"]["at"] = json!({ "type": "string", "format": "date-time", "description": "When it was recorded." });
        }
        let name = schema_name(event);
        mapping.insert(event.to_owned(), format!("#/components/schemas/{name}").into());
        written.insert(name, schema);
    };
    for kind in EventKind::ALL {
        one(kind.name(), &data(*kind, found), true);
    }
    one(DELTA, &named::<Delta>(found), false);
    let types: Vec<Value> = mapping.values().map(|reference| json!({ "$ref": reference })).collect();
    written.insert(
        "TaskEvent".into(),
        json!({
            "description": "One event of a task. Types that a reader does not know are to be skipped: more may come. \
                `delta` is between the events: unnumbered, never recorded, never replayed.",
            "oneOf": types,
            "discriminator": { "propertyName": "type", "mapping": &mapping },
        }),
    );
    let names: Vec<&String> = mapping.keys().collect();
    written.insert(
        "EventFrame".into(),
        json!({
            "type": "object",
            "description": "A frame of an event stream, by its fields. Its `data` is JSON in one line: of one with `event: delta` a Delta, \
                of any other the event that it names.",
            "required": ["event", "data"],
            "properties": {
                "id": { "type": "string", "pattern": "^[0-9]+$", "description": "The number to resume after; a `delta` has none." },
                "event": { "type": "string", "enum": names },
                "data": { "type": "string", "contentMediaType": "application/json",
                    "contentSchema": { "oneOf": [{ "$ref": "#/components/schemas/TaskEvent" }, { "$ref": "#/components/schemas/Delta" }] } },
            },
        }),
    );
    written
}

/// What an event stream shows as its example.
pub(super) const STREAM: &str = "id: 1\nevent: task.accepted\ndata: {\"id\":1,\"type\":\"task.accepted\",\"task_id\":\"order-7\",\"at\":\"2026-11-22T22:14:35.001Z\",\"step\":0,\"data\":{…}}\n\n\
    event: delta\ndata: {\"step\":1,\"attempt\":1,\"index\":0,\"text\":\"17 times\"}\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_event_has_a_schema_that_its_name_leads_to() {
        let written = schemas(&mut Found::new());
        let mapping = written["TaskEvent"]["discriminator"]["mapping"].as_object().unwrap();
        let names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).chain([DELTA]).collect();
        assert_eq!(mapping.len(), names.len());
        for name in names {
            let schema = mapping[name].as_str().unwrap().rsplit('/').next().unwrap();
            assert_eq!(written[schema]["properties"]["type"]["const"], name);
        }
        assert_eq!(written["TaskEvent"]["oneOf"].as_array().unwrap().len(), mapping.len());
        assert!(written.contains_key("RunTakenOverEvent"), "{:?}", written.keys());
    }
}
