//! The JSON schema of the config file, for editors (taplo's `#:schema`) and `one-api-sidecar schema`.
//!
//! It is a file of the repository, `sidecar.schema.json`, and in the binary as that text. It comes from the tables'
//! declarations (`declared`); a test holds the file to them, and writes it:
//! `UPDATE_SCHEMA=1 cargo test --lib config::schema`.

#[cfg(test)]
mod declared;

use std::sync::LazyLock;

use serde_json::Value;

/// The schema of `sidecar.toml`, as the file has it.
pub const TEXT: &str = include_str!("../../sidecar.schema.json");

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(TEXT).unwrap_or_default());

/// The schema of `sidecar.toml`.
pub fn schema() -> &'static Value {
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::declared::declared;
    use super::*;
    use crate::notify::services::REGISTRY;

    #[test]
    fn the_file_in_the_repository_is_what_the_tables_declare() {
        let declared = declared();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/sidecar.schema.json");
            std::fs::write(file, format!("{declared:#}\n")).unwrap();
        } else {
            assert!(*schema() == declared, "UPDATE_SCHEMA=1 cargo test --lib config::schema");
        }
    }

    #[test]
    fn the_schema_knows_every_table_and_has_no_null() {
        let schema = schema();
        for table in ["language", "gateway", "vault", "server", "agent", "defaults", "credential", "notify"] {
            let field = &schema["properties"][table];
            assert!(field["description"].as_str().is_some_and(|text| !text.is_empty()), "{table}: {field}");
        }
        assert_eq!(schema["additionalProperties"], false);
        assert!(!schema.to_string().contains("null"), "{schema}");
        let services = schema["definitions"]["Notify"]["oneOf"].as_array().unwrap();
        assert_eq!(services.len(), REGISTRY.len());
    }
}
