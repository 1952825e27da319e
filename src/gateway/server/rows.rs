//! Rows of `channels` as [`ChannelView`]s, every column of them read as text.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::dialect::{Dialect, one_of};
use super::link::{Link, TextRow, Value};
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::ChannelSelect;
use crate::gateway::stored::{is_multi_key, status_reason};
use crate::secret::Secret;

/// How many channels one statement reads.
const LOOK_AT_ONCE: usize = 500;

/// Every channel, by id.
pub(super) async fn all(link: &mut Link, select: &str) -> sqlx::Result<Vec<ChannelView>> {
    let rows = link.rows(&format!("{select} ORDER BY id"), &[]).await?;
    Ok(rows.into_iter().filter_map(view).collect())
}

/// The channels that are asked for, by id, each once.
pub(super) async fn some(
    link: &mut Link,
    dialect: &Dialect,
    select: &str,
    channels: &[ChannelSelect],
) -> sqlx::Result<Vec<ChannelView>> {
    let mut found = BTreeMap::new();
    for chunk in channels.chunks(LOOK_AT_ONCE) {
        let mut ids = Vec::new();
        let mut names = Vec::new();
        for channel in chunk {
            match channel {
                ChannelSelect::Id(id) => ids.push(*id),
                ChannelSelect::Name(name) => names.push(name.as_str()),
            }
        }
        let mut sql = format!("{select} WHERE {}", one_of(&ids));
        if !names.is_empty() {
            let places: Vec<String> = (1..=names.len()).map(|n| dialect.placeholder(n)).collect();
            sql += &format!(" OR name IN ({})", places.join(", "));
        }
        let values: Vec<Value<'_>> = names.iter().map(|name| Value::Text(name)).collect();
        let (ids, names): (HashSet<i64>, HashSet<&str>) = (ids.into_iter().collect(), names.into_iter().collect());
        let views = link.rows(&sql, &values).await?.into_iter().filter_map(view);
        // MySQL's collations find names that are merely alike.
        let wanted = views.filter(|view| ids.contains(&view.id) || names.contains(view.name.as_str()));
        found.extend(wanted.map(|view| (view.id, view)));
    }
    Ok(found.into_values().collect())
}

/// These channels, by their ids.
pub(super) async fn these(link: &mut Link, select: &str, ids: &[i64]) -> sqlx::Result<HashMap<i64, ChannelView>> {
    let rows = link.rows(&format!("{select} WHERE {}", one_of(ids)), &[]).await?;
    Ok(rows.into_iter().filter_map(view).map(|view| (view.id, view)).collect())
}

/// One row of [`Dialect::select`]; one odd row must not hide the others.
fn view(row: TextRow) -> Option<ChannelView> {
    let mut columns = row.into_iter();
    let mut next = || columns.next().flatten();
    let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
    Some(ChannelView {
        id: number(next())?,
        kind: number(next()).unwrap_or_default(),
        name: next().unwrap_or_default(),
        status: Status::from(number(next()).unwrap_or_default()),
        key: Some(Secret::new(next().unwrap_or_default())),
        created_time: number(next()).unwrap_or_default(),
        status_reason: next().and_then(|other_info| status_reason(other_info.as_bytes())),
        multi_key: next().is_some_and(|channel_info| is_multi_key(channel_info.as_bytes())),
        abilities_off: next().as_deref() == Some("1"),
    })
}
