//! JSON Schema inside bounds: what we compile, we can check in bounded time.

mod graph;
mod levels;
mod looser;
mod patterns;
mod references;
mod shape;
mod work;

pub use looser::loosen;
use patterns::Patterns;
pub use patterns::mend_patterns;
pub use references::percent_decoded;
use serde_json::Value;
use shape::Shape;
use std::fmt::{self, Write};
use work::{Explains, Work};

/// The most a schema may weigh, as JSON text.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep it may nest.
pub const MAX_DEPTH: usize = 64;
/// How many schemas and sub-values it may hold.
pub const MAX_SUBSCHEMAS: usize = 1000;
const MAX_COMPLAINTS: usize = 5;
/// What all patterns of a schema may remember while they match, in bytes.
const DFA_BYTES: usize = 1 << 20;

/// A compiled schema. References are local, patterns run in linear time, nothing is fetched.
#[derive(Debug)]
pub struct Validator {
    compiled: jsonschema::Validator,
    work: Work,
    weight: u64,
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
        let patterns = Patterns::of(schema)?;
        let work = Work::of(schema)?;
        let draft = match schema.get("$schema").and_then(Value::as_str) {
            Some(uri) if uri.contains("draft-07") => jsonschema::Draft::Draft7,
            Some(uri) if !uri.contains("2020-12") => return Err(format!("`$schema` {uri} is not supported: use 2020-12 or draft-07")),
            _ => jsonschema::Draft::Draft202012,
        };
        // What a pattern remembers while it matches is bounded for all of them together.
        let remembered = DFA_BYTES / patterns.count.max(1);
        let weight = bytes as u64 * 16 + work.nodes * 1024 + patterns.states * 128 + (patterns.count * (remembered + 4096)) as u64;
        options(remembered).with_draft(draft).build(schema).map(|compiled| Self { compiled, work, weight }).map_err(|e| e.to_string())
    }

    /// `Ok`, or what does not fit, readable for a model: at most five complaints, each with its place.
    ///
    /// A value that would be checked against too much of the schema, as a long list of which each item has hundreds of
    /// alternatives, is not checked and said to be too much; so this takes some ten milliseconds and a few MiB at most.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let shape = Shape::of(value);
        if !self.work.can_check(&shape) {
            return Err("the value is too much for its schema to be checked: send fewer items, or let each have fewer alternatives".into());
        }
        if self.compiled.is_valid(value) {
            return Ok(());
        }
        // The validator answers yes or no in bounded time, but unrolls every alternative to say why.
        match self.work.explains(value, &shape) {
            Explains::All => {
                let complaints: Vec<String> = self.compiled.iter_errors(value).take(MAX_COMPLAINTS).map(|e| complaint(&e)).collect();
                Err(complaints.join("; "))
            }
            Explains::First => self.compiled.validate(value).map_err(|e| complaint(&e)),
            Explains::Nothing => Err("the value does not fit the schema; it is too large or nests too deeply in it to say where".into()),
        }
    }

    /// What checking a value may cost, in units of some ten nanoseconds. To be asked where the thread serves others too.
    pub fn cost(&self, value: &Value) -> u64 {
        self.work.cost(&Shape::of(value))
    }

    /// How many bytes it holds, estimated.
    pub fn weight(&self) -> u64 {
        self.weight
    }
}

/// How patterns are matched: in linear time, and with so much memory each.
fn options(dfa_bytes: usize) -> jsonschema::ValidationOptions<'static> {
    jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex().size_limit(1 << 20).dfa_size_limit(dfa_bytes))
}

/// Whether compiling a schema, or finding it too much, may take longer than a millisecond.
pub fn is_heavy(schema: &Value) -> bool {
    const NODES: usize = 200;
    const PATTERN_BYTES: usize = 200;
    let (mut nodes, mut pattern_bytes) = (0, 0);
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        nodes += 1;
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    // Those of `patternProperties` stand as names, beside no few others.
                    pattern_bytes += if name == "pattern" { member.as_str().map_or(0, repeated) } else { 0 };
                    pattern_bytes += if name.contains(['{', '\\', '*', '+']) { repeated(name) } else { 0 };
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if nodes > NODES || pattern_bytes > PATTERN_BYTES {
            return true;
        }
    }
    false
}

/// How long a pattern is, each repetition counted as much more.
fn repeated(pattern: &str) -> usize {
    pattern.len() + 60 * pattern.matches('{').count()
}

fn complaint(error: &jsonschema::ValidationError) -> String {
    let place = error.instance_path().to_string();
    let mut text = Cut(String::new());
    // An error says no more than that it is full: it would write out a whole value first.
    let _ = write!(text, "{error}");
    if place.is_empty() { text.0 } else { format!("at {place}: {}", text.0) }
}

/// The first characters of what is written.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const MOST: usize = 300;
        let room = MOST.saturating_sub(self.0.chars().count());
        self.0.extend(text.chars().take(room));
        if room == 0 { Err(fmt::Error) } else { Ok(()) }
    }
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
