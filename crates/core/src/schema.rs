//! JSON Schema inside bounds: what we compile, we can check in bounded time.

mod work;

use serde_json::Value;
use work::Work;

/// The most a schema may weigh, as JSON text.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep it may nest.
pub const MAX_DEPTH: usize = 32;
/// How many schemas and sub-values it may hold.
pub const MAX_SUBSCHEMAS: usize = 1000;
const MAX_COMPLAINTS: usize = 5;

/// A compiled schema. References are local, patterns run in linear time, nothing is fetched.
#[derive(Debug)]
pub struct Validator {
    compiled: jsonschema::Validator,
    work: Work,
}

impl Validator {
    /// Compiles a schema within the bounds, or says what is wrong with it.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err("a schema must be an object".into());
        }
        let bytes = serde_json::to_string(schema).map_or(0, |text| text.len());
        if bytes > MAX_BYTES {
            return Err(format!("the schema has {bytes} bytes; at most {MAX_BYTES} are allowed"));
        }
        let mut objects = 0;
        inspect(schema, 0, &mut objects)?;
        let work = Work::of(schema)?;
        let draft = match schema.get("$schema").and_then(Value::as_str) {
            Some(uri) if uri.contains("draft-07") => jsonschema::Draft::Draft7,
            Some(uri) if !uri.contains("2020-12") => return Err(format!("`$schema` {uri} is not supported: use 2020-12 or draft-07")),
            _ => jsonschema::Draft::Draft202012,
        };
        jsonschema::options()
            .with_draft(draft)
            .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(1 << 20).dfa_size_limit(1 << 20))
            .build(schema)
            .map(|compiled| Self { compiled, work })
            .map_err(|e| e.to_string())
    }

    /// `Ok`, or what does not fit, readable for a model: at most five complaints, each with its place.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if self.compiled.is_valid(value) {
            return Ok(());
        }
        // The validator answers yes or no in bounded time, but unrolls every alternative to say why.
        if !self.work.can_explain(value) {
            return Err("the value does not fit the schema; it nests too deeply in it to say where".into());
        }
        let complaints: Vec<String> = self.compiled.iter_errors(value).take(MAX_COMPLAINTS).map(|e| complaint(&e)).collect();
        Err(complaints.join("; "))
    }
}

fn complaint(error: &jsonschema::ValidationError) -> String {
    let place = error.instance_path().to_string();
    let text: String = error.to_string().chars().take(300).collect();
    if place.is_empty() { text } else { format!("at {place}: {text}") }
}

fn inspect(value: &Value, depth: usize, objects: &mut usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("the schema nests deeper than {MAX_DEPTH}"));
    }
    match value {
        Value::Object(members) => {
            *objects += 1;
            if *objects > MAX_SUBSCHEMAS {
                return Err(format!("the schema holds more than {MAX_SUBSCHEMAS} subschemas"));
            }
            for reference in ["$ref", "$dynamicRef"] {
                if let Some(target) = members.get(reference).and_then(Value::as_str)
                    && !target.starts_with('#')
                {
                    return Err(format!("`{reference}` {target} is not local: only references that begin with # are followed"));
                }
            }
            members.values().try_for_each(|member| inspect(member, depth + 1, objects))
        }
        Value::Array(items) => items.iter().try_for_each(|item| inspect(item, depth + 1, objects)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
