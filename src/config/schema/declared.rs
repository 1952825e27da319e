//! The schema as the declarations of the tables in [`crate::config::file`] and the registry of services give it.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::config::file::{ChannelEntry, ChannelSection, Many, NotifyCommon, NotifySection, OneOrMany, Tables};
use crate::notify::services::REGISTRY;

/// The schema of `sidecar.toml`.
pub(super) fn declared() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Tables>().to_value();
    without_null(&mut schema);
    schema["title"] = json!("sidecar.toml");
    for (table, fields) in REQUIRED {
        if let Some(table) = schema.pointer_mut(&format!("/definitions/{table}")) {
            table["required"] = json!(fields);
        }
    }
    schema["required"] = json!(["gateway"]);
    schema
}

/// The fields that a table cannot do without.
const REQUIRED: [(&str, &[&str]); 3] = [
    ("GatewaySection", &["database"]),
    ("CredentialSection", &["name", "channels"]),
    ("ApiSection", &["url", "token"]),
];

/// Takes out what stands for a field that is not there: TOML has no null, and every field may be left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(words)) = object.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice != &json!({"type": "null"}));
                if let [only] = choices.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    // Beside a reference draft 7 reads nothing else: the field's description needs allOf.
                    object.insert("allOf".into(), json!([only]));
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("ManyOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({"type": "array", "items": table})
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({"anyOf": [table, {"type": "array", "items": table}]})
    }
}

impl JsonSchema for ChannelEntry {
    fn schema_name() -> Cow<'static, str> {
        "Channel".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<ChannelSection>();
        json_schema!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1}, table]})
    }
}

/// One choice a service: the common fields and its own.
impl JsonSchema for NotifySection {
    fn schema_name() -> Cow<'static, str> {
        "Notify".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let common = properties(&NotifyCommon::json_schema(generator), generator);
        let mut choices = Vec::with_capacity(REGISTRY.len());
        for registration in REGISTRY {
            let own = (registration.schema)(generator);
            let mut fields = common.clone();
            fields.extend(properties(&own, generator));
            fields.insert("type".into(), json!({"const": registration.name, "description": "The service."}));
            let required = own.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            let required: Vec<Value> = std::iter::once(json!("type")).chain(required).collect();
            choices.push(json!({
                "type": "object",
                "title": registration.name,
                "properties": fields,
                "required": required,
                "additionalProperties": false,
            }));
        }
        json_schema!({"oneOf": choices})
    }
}

/// The properties of an object's schema, behind its reference where it is one.
fn properties(schema: &Schema, generator: &SchemaGenerator) -> Map<String, Value> {
    let referred = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let schema = referred.and_then(|name| generator.definitions().get(name)).unwrap_or(schema.as_value());
    schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}
