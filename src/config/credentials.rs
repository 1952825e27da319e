//! A plan's credentials: in the order of the file, and found by name without looking at each.

use std::ops::Deref;
use std::sync::Arc;

use crate::config::plan::CredentialPlan;

/// Credentials in the order of the file; read as a slice of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    plans: Vec<Arc<CredentialPlan>>,
    /// Their places, in the order of their names.
    by_name: Vec<u32>,
}

impl Credentials {
    /// The credential of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<CredentialPlan>> {
        let at = self.by_name.binary_search_by(|at| (*self.plans[*at as usize].name).cmp(name)).ok()?;
        Some(&self.plans[self.by_name[at] as usize])
    }

    /// See [`crate::config::plan::Plan::share`].
    pub(super) fn share(&mut self, before: &Self) {
        for plan in &mut self.plans {
            if let Some(same) = before.get(&plan.name).filter(|before| *before == plan) {
                *plan = Arc::clone(same);
            }
        }
    }
}

impl From<Vec<Arc<CredentialPlan>>> for Credentials {
    fn from(plans: Vec<Arc<CredentialPlan>>) -> Self {
        let mut by_name: Vec<u32> = (0..u32::try_from(plans.len()).unwrap_or(u32::MAX)).collect();
        by_name.sort_by(|one, other| plans[*one as usize].name.cmp(&plans[*other as usize].name));
        Self { plans, by_name }
    }
}

impl Deref for Credentials {
    type Target = [Arc<CredentialPlan>];

    fn deref(&self) -> &Self::Target {
        &self.plans
    }
}

impl<'a> IntoIterator for &'a Credentials {
    type Item = &'a Arc<CredentialPlan>;
    type IntoIter = std::slice::Iter<'a, Arc<CredentialPlan>>;

    fn into_iter(self) -> Self::IntoIter {
        self.plans.iter()
    }
}
