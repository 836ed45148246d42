//! A checker of the part of JSON Schema that `spec/events.schema.json` uses.

use serde_json::Value;
use weighbridge_manifest::Time;

/// Checks a value against a schema whose references lead into `root`. The error is the first fault, with its place.
///
/// The schema lets objects have further keys, since later versions may print some. This version prints none that the
/// schema does not have, so the check refuses them.
pub(super) fn check(root: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "title" | "description" => true,
            "$ref" => {
                let definition = wanted.as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
                check(root, definition.unwrap(), value, place)?;
                true
            }
            "anyOf" => wanted.as_array().unwrap().iter().any(|one| check(root, one, value, place).is_ok()),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|one| is_of(one, value)),
                one => is_of(one, value),
            },
            "minimum" => !value.is_number() || value.as_f64() >= wanted.as_f64(),
            "pattern" => {
                assert_eq!(wanted, "^[0-9a-f]{64}$", "a pattern that this check does not know");
                value.as_str().is_none_or(is_hash)
            }
            "format" => {
                assert_eq!(wanted, "date-time", "a format that this check does not know");
                value.as_str().is_none_or(|text| Time::parse(text).is_ok())
            }
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{place}[{number}]"))?;
                }
                true
            }
            "required" => {
                let has = |key: &Value| value.get(key.as_str().unwrap()).is_some();
                !value.is_object() || wanted.as_array().unwrap().iter().all(has)
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(key) {
                        check(root, schema, value, &format!("{place}.{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known =
                    |key: &str| schema.get("properties").is_some_and(|known| known.get(key).is_some());
                let further = value.as_object().into_iter().flatten().filter(|(key, _)| !known(key));
                for (key, value) in further {
                    let place = format!("{place}.{key}");
                    if *wanted == true {
                        return Err(format!("{place}: a further key"));
                    }
                    check(root, wanted, value, &place)?;
                }
                true
            }
            _ => panic!("a keyword that this check does not know: {keyword}"),
        };
        if !holds {
            return Err(format!("{place}: {value} is not as {keyword} says: {wanted}"));
        }
    }
    Ok(())
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type of JSON: {other}"),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
