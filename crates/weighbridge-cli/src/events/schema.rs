//! `spec/events.schema.json`: made from the table of events and their types, and compared with the file.

use std::{borrow::Cow, fs, path::Path};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use super::{rows, values::Always};

/// The schema of a row, with its types' documentation.
pub(super) fn row<T: JsonSchema>(event: &str, printed_by: &str, generator: &mut SchemaGenerator) -> Value {
    let mut schema = T::json_schema(generator).to_value();
    schema["title"] = format!("{event}: {printed_by}").into();
    schema["properties"]["event"] = json!({ "const": event });
    let required = schema["required"].as_array_mut().expect("each object has a key that is always there");
    required.push("event".into());
    schema
}

/// The words of a key that may be null.
pub(super) fn or_null<const N: usize>(words: [&str; N]) -> Vec<Option<&str>> {
    words.into_iter().map(Some).chain([None]).collect()
}

impl<const VALUE: bool> JsonSchema for Always<VALUE> {
    fn schema_name() -> Cow<'static, str> {
        format!("Always{VALUE}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": VALUE })
    }
}

fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let rows = rows(&mut generator);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events",
        "description": "An object that the command prints with --json. events.md is the page for people. Objects may get further keys, and there may be further events.",
        "anyOf": rows,
        "$defs": generator.take_definitions(true),
    });
    tidy(&mut schema);
    schema
}

/// Says what all objects have in common, and leaves out what validators do not know.
fn tidy(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if let Some(Value::String(text)) = schema.get_mut("description") {
        // The lines of a comment end where the source's lines do.
        *text = text.replace('\n', " ");
    }
    // The widths of numbers are those of the code, in formats like `uint64` that only schemars knows.
    if schema.get("format").is_some_and(|format| format != "date-time") {
        schema.remove("format");
        schema.remove("maximum");
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.sort_by_key(Value::to_string);
    }
    if schema.contains_key("properties") {
        never_null_if_left_out(schema);
        schema.insert("additionalProperties".to_owned(), true.into());
    }
    for key in ["properties", "$defs"] {
        schema.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten().for_each(|(_, it)| tidy(it));
    }
    schema.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten().for_each(tidy);
    for key in ["items", "additionalProperties"] {
        schema.get_mut(key).into_iter().for_each(tidy);
    }
}

/// A key that is not always there is an `Option` that is left out, and therefore never null.
fn never_null_if_left_out(schema: &mut Map<String, Value>) {
    let required = schema["required"].clone();
    let is_required = |key: &str| required.as_array().is_some_and(|keys| keys.iter().any(|it| it == key));
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for property in properties.filter(|(key, _)| !is_required(key)).filter_map(|(_, it)| it.as_object_mut()) {
        if property.get("type").is_some_and(|kind| kind[1] == "null") {
            property["type"] = property["type"][0].take();
        }
        if let Some(Value::Array(words)) = property.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        if property.get("anyOf").is_some_and(|choices| choices[1] == json!({ "type": "null" }))
            && let Some(Value::Object(only)) = property.remove("anyOf").map(|mut choices| choices[0].take())
        {
            property.extend(only);
        }
    }
}

/// JSON in which everything that fits has one line.
fn print(value: &Value, indent: usize, text: &mut String) {
    let line = one_line(value);
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => {
            in_order(object).into_iter().map(|(key, value)| (format!("\"{key}\": "), value)).collect()
        }
        Value::Array(array) => array.iter().map(|value| (String::new(), value)).collect(),
        _ => Vec::new(),
    };
    if children.is_empty() || indent + line.len() <= WIDTH {
        *text += &line;
        return;
    }
    let (open, close) = if value.is_object() { ("{", "}") } else { ("[", "]") };
    *text += open;
    for (number, (key, value)) in children.into_iter().enumerate() {
        *text += if number == 0 { "\n" } else { ",\n" };
        *text += &" ".repeat(indent + 2);
        *text += &key;
        print(value, indent + 2, text);
    }
    *text += &format!("\n{}{close}", " ".repeat(indent));
}

const WIDTH: usize = 120;

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(object) if !object.is_empty() => {
            let pairs = in_order(object).into_iter();
            let pairs: Vec<_> = pairs.map(|(key, value)| format!("\"{key}\": {}", one_line(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(array) => format!("[{}]", array.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The keys in alphabetical order, but for those that say what a schema is about.
fn in_order(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<_> = object.iter().collect();
    let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
    pairs.sort_by_key(|(key, _)| (*key == "$defs", rank(key)));
    pairs
}

const FIRST: [&str; 4] = ["$schema", "title", "description", "type"];

fn text() -> String {
    let mut text = String::new();
    print(&schema(), 0, &mut text);
    text + "\n"
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/events.schema.json");

/// `cargo xtask schema` sets the variable, and then the test writes the file that it otherwise compares.
#[test]
fn the_schema_of_the_specification_is_that_of_the_types() {
    if std::env::var_os("WEIGHBRIDGE_WRITE_SCHEMA").is_some() {
        fs::write(Path::new(FILE), text()).unwrap();
    }
    let (written, made) = (fs::read_to_string(Path::new(FILE)).unwrap_or_default(), text());
    let differs = written.lines().zip(made.lines()).find(|(written, made)| written != made);
    assert!(written == made, "`cargo xtask schema` writes spec/events.schema.json anew\n{differs:#?}");
}
