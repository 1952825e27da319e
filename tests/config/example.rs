//! `sidecar.toml.example` and the JSON schema: both know every field, and they agree.

use one_api_sidecar::config::schema::schema;
use serde_json::Value;

use super::{EXAMPLE, SMALL, TEN_LINES, plan};

/// The example with every commented-out field and table in force.
pub fn uncommented() -> String {
    let is_field = |line: &str| {
        let key: String = line.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        line.starts_with('[') || (!key.is_empty() && line[key.len()..].starts_with(" = "))
    };
    let lines = EXAMPLE.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_field(rest)).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_example_is_the_contracts_case_as_it_stands() {
    let (example, contract) = (plan(EXAMPLE), plan(TEN_LINES));
    assert!(contract.diff(&example).is_empty(), "{:?}", contract.diff(&example));
}

#[test]
fn every_line_of_the_example_may_be_uncommented() {
    let plan = plan(&uncommented());
    assert_eq!(plan.credentials.len(), 3);
    assert!(plan.server.is_some() && plan.vault.encryption_key.is_some());
}

#[test]
fn the_defaults_in_the_example_are_the_defaults() {
    // These have none; the example shows a use of them.
    let without = ["api", "proxy", "ca_file", "client_cert", "client_key", "scope", "param_names", "headers", "issuer"];
    let login = ["authorization_endpoint", "device_authorization_endpoint"];
    let names = || without.iter().chain(&login);
    let has_default = |line: &&str| !names().any(|key| line.starts_with(&format!("{key} = ")));
    let text: String = uncommented().lines().filter(has_default).map(|line| format!("{line}\n")).collect();
    let (written, built_in) = (plan(&text), plan(TEN_LINES));
    assert_eq!((&written.gateways, written.agent), (&built_in.gateways, built_in.agent));
    assert_eq!(written.vault.place, built_in.vault.place);
    assert_eq!(written.notifiers[0].events, built_in.notifiers[0].events);
    assert_eq!(written.notifiers[0].timeout, built_in.notifiers[0].timeout);
    let mut credential = (*written.credentials[0]).clone();
    assert!(credential.channels[0].key_is_explicit, "channel_key is written out");
    credential.channels[0].key_is_explicit = false;
    assert_eq!(credential, *built_in.credentials[0]);
}

/// Editors find it beside the example, by the example's first line; whoever has no clone gets it from `schema`.
#[test]
fn the_example_names_its_schema() {
    assert!(EXAMPLE.starts_with("#:schema ./sidecar.schema.json\n"));
}

/// Fields that stand in the place of another one: the example has them in a comment to that.
const IN_PLACE: [&str; 1] = ["url"];

#[test]
fn the_example_has_every_field_of_the_schema() {
    let schema = schema();
    let text = uncommented();
    let mut checked = 0;
    for table in [
        "GatewaySection",
        "VaultSection",
        "ServerSection",
        "AgentSection",
        "DefaultsSection",
        "CredentialSection",
        "ResponseSection",
        "AssertionSection",
    ] {
        let fields =
            schema["definitions"][table]["properties"].as_object().unwrap_or_else(|| panic!("{table}: {schema}"));
        for field in fields.keys().filter(|field| !IN_PLACE.contains(&field.as_str())) {
            let is_there = text.lines().any(|line| {
                line.strip_prefix(field.as_str()).is_some_and(|rest| rest.trim_start().starts_with('='))
                    || line == format!("[credential.{field}]")
            });
            assert!(is_there, "{table}.{field} is not in the example");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn the_example_has_every_service_with_every_field() {
    let text = uncommented();
    let blocks: Vec<&str> = text.split("[[notify]]\n").skip(1).collect();
    let schema = schema();
    let services = schema["definitions"]["Notify"]["oneOf"].as_array().unwrap();
    assert!(services.len() > 10);
    let in_each = ["name", "events", "timeout", "proxy"];
    for service in services {
        let name = service["title"].as_str().unwrap();
        let has_line = |block: &str, field: &str, value: &str| {
            let value_of =
                |line: &str| Some(line.strip_prefix(field)?.trim_start().strip_prefix('=')?.trim().to_owned());
            block.lines().filter_map(value_of).any(|written| written.starts_with(value))
        };
        let block = blocks.iter().find(|block| has_line(block, "type", &format!("\"{name}\"")));
        let block = block.unwrap_or_else(|| panic!("{name} is not in the example"));
        for field in
            service["properties"].as_object().unwrap().keys().filter(|field| !in_each.contains(&field.as_str()))
        {
            assert!(has_line(block, field, ""), "{name}: {field} is not in the example");
        }
    }
    assert_eq!(plan(&text).notifiers.len(), services.len());
}

#[test]
fn the_documentation_has_a_config_to_copy_for_every_service() {
    use one_api_sidecar::notify::services::REGISTRY;
    let languages = [include_str!("../../docs/notifications.md"), include_str!("../../docs/notifications.zh-CN.md")];
    for text in languages {
        let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let mut types = Vec::new();
        for block in blocks {
            // As it stands, and with what is commented out.
            let whole = block.lines().map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n");
            for block in [block.to_owned(), whole.collect()] {
                let plan = plan(&(SMALL.to_owned() + &block));
                types.push(plan.notifiers[0].name.to_string());
            }
        }
        types.dedup();
        assert_eq!(types, REGISTRY.iter().map(|registration| registration.name).collect::<Vec<_>>());
        for topic in one_api_sidecar::credential::event::Topic::ALL {
            assert!(text.contains(&format!("`{}`", topic.as_str())), "{topic:?}");
        }
    }
}

#[test]
fn the_schema_accepts_the_example_and_refuses_unknown_keys() {
    let schema = schema();
    let value = |text: &str| -> Value { serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap() };
    for text in [EXAMPLE.to_owned(), uncommented(), TEN_LINES.to_owned()] {
        accepts(schema, schema, &value(&text), "").unwrap();
    }
    for (from, to) in [
        ("token_url", "token_ulr"),
        ("\"json\"", "\"jsn\""),
        ("[1]", "[0]"),
        ("[1]", "1"),
        ("{ env = \"OPENAI_REFRESH_TOKEN\" }", "\"bare\""),
        ("\"pushplus\"", "\"pushpuls\""),
        ("database", "databse"),
    ] {
        let text = TEN_LINES.replace(from, to);
        assert!(accepts(schema, schema, &value(&text), "").is_err(), "{text}");
    }
}

/// Validates by the keywords that our schema uses; an unknown keyword is an error, so that none goes unchecked.
fn accepts(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    let fail = |why: &str| Err(format!("{path}: {why}: {value}"));
    for (keyword, rule) in schema {
        let choices = || rule.as_array().into_iter().flatten();
        let count = || choices().filter(|choice| accepts(root, choice, value, path).is_ok()).count();
        match keyword.as_str() {
            "$schema" | "title" | "description" | "definitions" | "examples" | "format" | "default" => {}
            "$ref" => {
                let target = rule.as_str().and_then(|path| root.pointer(path.trim_start_matches('#')));
                accepts(root, target.expect("a definition"), value, path)?;
            }
            "type" => {
                let is = match rule.as_str().expect("one type") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64(),
                    other => return fail(other),
                };
                if !is {
                    return fail(&rule.to_string());
                }
            }
            "const" if rule != value => return fail("const"),
            "enum" if !choices().any(|word| word == value) => return fail("enum"),
            "const" | "enum" | "pattern" => {}
            "minLength" if value.as_str().is_some_and(str::is_empty) => return fail("minLength"),
            "minimum" if value.as_i64() < rule.as_i64() => return fail("minimum"),
            "minLength" | "minimum" => {}
            "anyOf" if count() == 0 => return fail("anyOf"),
            "oneOf" if count() != 1 => return fail("oneOf"),
            "anyOf" | "oneOf" => {}
            "allOf" => choices().try_for_each(|choice| accepts(root, choice, value, path))?,
            "required" => {
                if let Some(missing) = choices().find(|key| value.get(key.as_str().unwrap_or_default()).is_none()) {
                    return fail(&missing.to_string());
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    accepts(root, rule, item, path)?;
                }
            }
            "properties" => {
                for (key, rule) in rule.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(key) {
                        accepts(root, rule, value, &format!("{path}/{key}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(key)) {
                        continue;
                    }
                    if rule == false {
                        return fail(key);
                    }
                    accepts(root, rule, value, &format!("{path}/{key}"))?;
                }
            }
            other => return fail(&format!("a keyword that this test does not know: {other}")),
        }
    }
    Ok(())
}
