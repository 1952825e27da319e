//! Presets: the fields that a known provider's customers all share, put under what is written.
//!
//! On TOML's tree, before anything is read: afterwards nobody can tell, and need not tell, where a field came from.
//! What a preset brings stands where its name stands, so that a problem with it is shown there.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::oauth::presets::Preset;
use crate::shape::Span;

/// Puts the preset that a credential names under its own fields, for every credential.
pub(super) fn fill(root: &mut DeTable<'_>) {
    let Some(credentials) = root.get_mut("credential") else { return };
    match credentials.get_mut() {
        DeValue::Array(tables) => tables.iter_mut().for_each(|table| fill_one(table.get_mut())),
        one => fill_one(one),
    }
}

fn fill_one(credential: &mut DeValue<'_>) {
    let DeValue::Table(table) = credential else { return };
    let Some(named) = table.get("preset") else { return };
    let Some(preset) = named.get_ref().as_str().and_then(Preset::named) else { return };
    let place = named.span();
    let (fields, errors) = DeTable::parse_recoverable(preset.fields);
    debug_assert!(errors.is_empty(), "{}: {errors:?}", preset.name);
    put_under(table, fields.into_inner(), &place);
}

/// What is there already wins; tables are filled key by key.
fn put_under<'t>(table: &mut DeTable<'t>, under: DeTable<'t>, place: &Span) {
    for (key, value) in under {
        let key = key.into_inner();
        match (table.get_mut(&*key).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(written)), DeValue::Table(under)) => put_under(written, under, place),
            (Some(_), _) => {}
            (None, DeValue::Table(under)) => {
                let mut filled = DeTable::new();
                put_under(&mut filled, under, place);
                let filled = Spanned::new(place.clone(), DeValue::Table(filled));
                table.insert(Spanned::new(place.clone(), key), filled);
            }
            (None, value) => {
                table.insert(Spanned::new(place.clone(), key), Spanned::new(place.clone(), value));
            }
        }
    }
}
