//! Text that thousands of records have in common, in memory once: a client's id, a token endpoint's address.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that shares its memory with every equal one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shared(Arc<str>);

/// Every text that somebody has.
#[derive(Default)]
struct Pool {
    texts: HashSet<Arc<str>>,
    /// With so many, those that nobody has any more are dropped.
    most: usize,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

impl Pool {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= self.most {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.texts.shrink_to_fit();
            self.most = (2 * self.texts.len()).max(64);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

impl From<&str> for Shared {
    fn from(text: &str) -> Self {
        Self(POOL.lock().unwrap_or_else(PoisonError::into_inner).share(text))
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::from("")
    }
}

impl Deref for Shared {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'_, str>>::deserialize(deserializer).map(|text| Self::from(&*text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let [one, other] = ["client-1", "client-1"].map(Shared::from);
        assert!(Arc::ptr_eq(&one.0, &other.0));
        assert_ne!(one, Shared::from("client-2"));
        let read: Shared = serde_json::from_str("\"client-1\"").unwrap();
        assert!(Arc::ptr_eq(&one.0, &read.0));
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"client-1\"");
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten() {
        let mut pool = Pool::default();
        let kept = pool.share("kept");
        for number in 0..1000 {
            pool.share(&number.to_string());
        }
        assert!(pool.texts.len() <= 64, "{}", pool.texts.len());
        assert!(Arc::ptr_eq(&kept, &pool.share("kept")));
    }
}
