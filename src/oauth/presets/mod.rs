//! Known providers: for each the fields of `[[credential]]` that are the same for all its customers.
//!
//! A preset is a piece of config that somebody has written already, in the config's own words; what the user writes
//! wins. Owns no rules: `config::preset` puts it under what is written, and from there on nobody knows where
//! a field came from. A provider is a file here and a line in the registry; its test case stands in the same file.

/// Declares the presets: a module each, the registry, and the registry of their test cases.
macro_rules! presets {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        /// Every preset there is, by name.
        pub const REGISTRY: &[Preset] = &[$($module::PRESET),*];

        #[cfg(test)]
        const CASES: &[(Preset, tests::Case)] = &[$(($module::PRESET, $module::CASE)),*];
    };
}

presets! {
    anthropic,
    auth0,
    aws_sso,
    baidu,
    github_app,
    gitlab,
    google,
    google_service_account,
    keycloak,
    microsoft_entra,
    okta,
    openai,
}

/// What is known of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The word for `preset = "…"`.
    pub name: &'static str,
    /// Fields of `[[credential]]`, a line each.
    pub fields: &'static str,
    /// The form of `token_url`, where every customer has an address of its own and must write it.
    pub own_token_url: Option<&'static str>,
}

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        REGISTRY.iter().find(|preset| preset.name == name)
    }

    /// Its fields on one line.
    pub fn line(&self) -> String {
        self.fields.trim().lines().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests;
