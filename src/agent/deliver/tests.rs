//! A room beside a gateway that is played: what comes between a look and its judgement, and between a write and its
//! result, in every order that a test wants.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::*;
use crate::channel::view::{ChannelView, Status};
use crate::config::plan::{ApiPlan, CacheLag, ChannelPlan, Database, GatewayKind, OnForeignKey};
use crate::credential::sample::{self, at};
use crate::finding::Finding;
use crate::gateway::{Gateway, GatewayError, Place, Publication, Published, Trace, Unloaded};
use crate::reason::ApiFailure;
use crate::secret::SecretSource;
use crate::vault::{FingerprintKind, Vault};

/// A gateway's rows, and what is to go wrong.
struct Rows {
    views: BTreeMap<i64, ChannelView>,
    shows_keys: bool,
    immediate: bool,
    refusal: Option<GatewayError>,
    written: Vec<(i64, String)>,
    looks: usize,
    expected: usize,
    unloaded: Option<Unloaded>,
}

struct Played(Arc<Mutex<Rows>>);

impl Played {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap()
    }
}

impl Gateway for Played {
    fn observe(&mut self, channels: &[ChannelSelect]) -> Result<Vec<ChannelView>, GatewayError> {
        let mut rows = self.rows();
        rows.looks += 1;
        let is_meant = |view: &&ChannelView| {
            channels.iter().any(|select| match select {
                ChannelSelect::Id(id) => view.id == *id,
                ChannelSelect::Name(name) => view.name == *name,
            })
        };
        let seen = rows.views.values().filter(is_meant).cloned();
        Ok(seen.map(|view| ChannelView { key: view.key.filter(|_| rows.shows_keys), ..view }).collect())
    }

    fn list(&mut self) -> Result<Vec<ChannelView>, GatewayError> {
        Ok(self.rows().views.values().cloned().collect())
    }

    fn publish(&mut self, batch: &[Publication]) -> Vec<Result<Published, GatewayError>> {
        let mut rows = self.rows();
        let mut answers = Vec::new();
        for publication in batch {
            if let Some(refusal) = rows.refusal.clone() {
                answers.push(Err(refusal));
                continue;
            }
            rows.written.push((publication.id, publication.key.expose().to_owned()));
            rows.views.get_mut(&publication.id).unwrap().key = Some(publication.key.clone());
            answers.push(Ok(Published { reenabled: false, waited: Duration::ZERO, held: Duration::ZERO }));
        }
        answers
    }

    fn expect(&mut self) {
        self.rows().expected += 1;
    }

    fn kind(&self) -> Option<GatewayKind> {
        Some(GatewayKind::NewApi)
    }

    fn unloaded(&self) -> Option<Unloaded> {
        self.rows().unloaded.clone()
    }

    fn immediate(&self) -> bool {
        self.rows().immediate
    }

    fn place(&mut self) -> Option<Place> {
        None
    }

    fn probe(&mut self) -> Result<(), GatewayError> {
        Ok(())
    }

    fn trace(&self) -> Trace {
        Trace::default()
    }

    fn changed(&mut self) -> bool {
        false
    }

    fn examine(&mut self) -> Vec<Finding> {
        Vec::new()
    }
}

struct Stage {
    _folder: tempfile::TempDir,
    vault: Vault,
    rows: Arc<Mutex<Rows>>,
    room: Room,
    records: ByRecord<Box<Record>>,
    events: Vec<Event>,
    now: Timestamp,
}

fn view(id: i64, name: &str, key: &str) -> ChannelView {
    ChannelView {
        id,
        kind: 1,
        name: name.into(),
        status: Status::Enabled,
        key: Some(Secret::new(key)),
        created_time: 7,
        multi_key: false,
        status_reason: None,
        abilities_off: false,
    }
}

fn id(id: i64) -> ChannelSelect {
    ChannelSelect::Id(id)
}

fn name(name: &str) -> ChannelSelect {
    ChannelSelect::Name(name.into())
}

impl Stage {
    /// A gateway with the channels 1, `one`, and 2, `two`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (vault, _) = Vault::open(&folder.path().join("vault.db"), None, 1).unwrap();
        let views = [view(1, "one", "before-1"), view(2, "two", "before-2")];
        let rows = Arc::new(Mutex::new(Rows {
            views: views.map(|view| (view.id, view)).into(),
            shows_keys: true,
            immediate: false,
            refusal: None,
            written: Vec::new(),
            looks: 0,
            expected: 0,
            unloaded: None,
        }));
        let room = room(&rows, HashMap::new());
        Self { _folder: folder, vault, rows, room, records: ByRecord::default(), events: Vec::new(), now: at(0) }
    }

    /// The same, with the gateway's admin API beside its database.
    fn beside_an_admin_api() -> Self {
        let mut stage = Self::new();
        let token = SecretSource::Value(Secret::new("token"));
        let api = ApiPlan { url: "http://one-hub:3000".parse().unwrap(), token, user: None };
        stage.room.plan = Arc::new(GatewayPlan { api: Some(api), ..GatewayPlan::clone(&stage.room.plan) });
        stage
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    fn key(&self, id: i64) -> String {
        self.rows().views[&id].key.as_ref().unwrap().expose().to_owned()
    }

    /// A refresh: the record has this access token now.
    async fn refreshed(&mut self, record: i64, token: &str) {
        let id = RecordId(record);
        let fingerprint = self.vault.handle.fingerprinter().of(&Secret::new(token));
        let seen = Change::Seen { record: id, kind: FingerprintKind::Key, fingerprint, at: self.now };
        self.vault.handle.commit(vec![seen]).await.unwrap();
        let known = self.records.entry(id).or_insert_with(|| Box::new(Record { id, ..sample::record() }));
        let before = known.access.clone().map(|grant| AccessGrant { expires_at: at(60), ..grant });
        known.access.as_mut().unwrap().token = Secret::new(token);
        known.state.generation += 1;
        let known = Record::clone(known);
        self.room.key_is_new(&known, before.as_ref(), self.now);
    }

    /// From now on the vault is another one, which knows nothing.
    fn forget_the_vault(&mut self) -> tempfile::TempDir {
        let other = tempfile::tempdir().unwrap();
        let (vault, _) = Vault::open(&other.path().join("vault.db"), None, 1).unwrap();
        std::mem::replace(&mut self.vault, vault).close();
        other
    }

    /// The config lists these channels, each for a record.
    fn list(&mut self, listed: &[(i64, ChannelSelect)]) {
        let plan = |(record, select): &(i64, ChannelSelect)| {
            let channel = ChannelPlan {
                gateway: self.room.plan.name.clone(),
                select: select.clone(),
                key: Template::default(),
                key_is_explicit: false,
            };
            let name = format!("credential-{record}").into();
            (RecordId(*record), CredentialPlan { name, channels: vec![channel], ..sample::plan() })
        };
        let plans: Vec<(RecordId, CredentialPlan)> = listed.iter().map(plan).collect();
        self.room.retarget(plans.iter().map(|(id, plan)| (*id, plan)));
    }

    /// The look that is due, as far as the gateway's answer.
    async fn look(&mut self) -> Option<(Origin, Result<Seen, GatewayError>)> {
        if let Some((origin, seen)) = self.room.take_ahead(self.now) {
            return Some((origin, Ok(seen)));
        }
        let order = self.room.order_look(&self.records, &self.vault.handle, self.now)?;
        Some((order.origin, order.carry_out().await))
    }

    /// The look at the channels of a key that comes.
    fn look_ahead(&mut self, record: i64) -> Option<LookOrder> {
        self.room.look_ahead(RecordId(record), &self.records, &self.vault.handle)
    }

    async fn looked_ahead(&mut self, order: LookOrder) {
        self.room.looked_ahead(order.origin, order.carry_out().await, self.now);
    }

    /// How often the gateway was told that a key may come, this time included.
    async fn expecting_a_key(&self) -> usize {
        self.room.expect_key();
        self.room.handle.settle().await;
        self.rows().expected
    }

    fn judge(&mut self, (origin, seen): (Origin, Result<Seen, GatewayError>)) -> Option<DeliveryOrder> {
        self.room.judge(origin, seen, &self.records, &self.vault.handle, self.now, &mut self.events)
    }

    async fn write(&mut self, order: DeliveryOrder) {
        let (origin, results) = (order.origin, order.carry_out().await);
        self.room.delivered(origin, results, self.now, &mut self.events);
    }

    /// Looks and writes until nothing is due any more.
    async fn settle(&mut self) {
        self.room.look_soon();
        for _ in 0..10 {
            let Some(look) = self.look().await else { return };
            if let Some(order) = self.judge(look) {
                self.write(order).await;
            }
        }
        panic!("it does not come to rest");
    }

    fn states(&self) -> Vec<ChannelState> {
        self.room.targets.iter().map(|target| target.standing.state).collect()
    }

    fn topics(&mut self) -> Vec<Topic> {
        self.events.drain(..).map(|event| event.topic).collect()
    }
}

fn room(rows: &Arc<Mutex<Rows>>, adoptions: Adoptions) -> Room {
    let plan = GatewayPlan {
        name: "default".into(),
        database: Database::File("/nowhere/one-api.db".into()),
        api: None,
        kind: None,
        cache_lag: CacheLag::ByKind,
        busy_timeout: Duration::from_secs(5),
        on_foreign_key: OnForeignKey::Report,
        reenable: true,
        allow_filesystem: vec![],
    };
    let handle = GatewayHandle::spawn(Box::new(Played(Arc::clone(rows))), || {});
    Room::new(Arc::new(plan), handle, adoptions)
}

use ChannelState::{Conflict, Delivered, Pending, Released, Unsupported};

#[tokio::test]
async fn an_adopted_channel_is_fed_on_whatever_the_config_calls_it_from_then_on() {
    for (adopted, later) in [
        ((1, id(1)), (1, name("one"))),
        ((1, name("one")), (2, name("one"))),
        ((1, name("one")), (1, id(1))),
        ((1, id(1)), (2, name("one"))),
    ] {
        let shown = format!("{adopted:?}, then {later:?}");
        let mut stage = Stage::new();
        stage.list(std::slice::from_ref(&adopted));
        stage.refreshed(adopted.0, "first").await;
        stage.settle().await;
        assert_eq!(stage.key(1), "first", "{shown}");
        stage.list(std::slice::from_ref(&later));
        stage.settle().await;
        stage.refreshed(later.0, "second").await;
        stage.settle().await;
        assert_eq!((stage.key(1).as_str(), stage.states()), ("second", vec![Delivered]), "{shown}");
        // And the id counts, whatever it is called.
        stage.rows().views.get_mut(&1).unwrap().name = "renamed".into();
        stage.refreshed(later.0, "third").await;
        stage.settle().await;
        assert_eq!((stage.key(1).as_str(), stage.states()), ("third", vec![Delivered]), "{shown}");
    }
}

/// Two channels that are fed, and a look ahead at the first on its way.
async fn looking_ahead() -> (Stage, LookOrder) {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1)), (2, id(2))]);
    for record in [1, 2] {
        stage.refreshed(record, "first").await;
    }
    stage.settle().await;
    stage.rows().looks = 0;
    let order = stage.look_ahead(1).expect("nothing is in its way");
    (stage, order)
}

#[tokio::test]
async fn a_key_that_comes_is_written_after_the_look_that_was_made_before_it_was_durable() {
    for lands_first in [true, false] {
        let (mut stage, order) = looking_ahead().await;
        if lands_first {
            stage.refreshed(1, "second").await;
            assert!(stage.look().await.is_none(), "a look is under way");
        }
        stage.looked_ahead(order).await;
        if !lands_first {
            assert!(stage.look().await.is_none(), "nothing came yet");
            stage.refreshed(1, "second").await;
        }
        let look = stage.look().await.unwrap();
        let order = stage.judge(look).expect("the key before it is known as ours");
        stage.write(order).await;
        assert_eq!((stage.key(1).as_str(), stage.rows().looks), ("second", 1));
        assert_eq!(stage.states(), [Delivered, Delivered]);
    }
}

#[tokio::test]
async fn what_was_seen_ahead_holds_for_the_key_it_was_seen_for_and_for_a_moment() {
    type Meanwhile = fn(&mut Stage);
    let cases: [(&str, Meanwhile); 4] = [
        ("late", |stage| stage.now = at(2)),
        ("the clock was set back", |stage| stage.now = at(-1)),
        ("everything is looked at", |stage| stage.room.look_soon()),
        ("other channels", |stage| stage.list(&[(2, id(2)), (1, id(1))])),
    ];
    for (what, meanwhile) in cases {
        let (mut stage, order) = looking_ahead().await;
        stage.looked_ahead(order).await;
        meanwhile(&mut stage);
        stage.refreshed(1, "second").await;
        let look = stage.look().await.unwrap();
        assert_eq!(stage.rows().looks, 2, "{what}");
        let order = stage.judge(look).unwrap();
        stage.write(order).await;
        assert_eq!(stage.key(1), "second", "{what}");
    }

    let (mut stage, order) = looking_ahead().await;
    stage.looked_ahead(order).await;
    for record in [1, 2] {
        stage.refreshed(record, "second").await;
    }
    stage.settle().await;
    assert_eq!((stage.key(1).as_str(), stage.key(2).as_str()), ("second", "second"));
}

#[tokio::test]
async fn a_strangers_key_that_was_seen_ahead_is_asked_about_as_ever() {
    let (mut stage, _) = looking_ahead().await;
    stage.room.busy = false;
    stage.rows().views.get_mut(&1).unwrap().key = Some(Secret::new("a stranger's"));
    let order = stage.look_ahead(1).unwrap();
    stage.looked_ahead(order).await;
    stage.refreshed(1, "second").await;
    let look = stage.look().await.unwrap();
    assert!(stage.judge(look).is_none(), "it is not ours to write over");
    assert_eq!(stage.states()[0], ChannelState::Foreign);
}

#[tokio::test]
async fn nothing_is_opened_or_looked_at_ahead_beside_something_else_or_where_something_is_wrong() {
    let (mut stage, order) = looking_ahead().await;
    assert!(stage.look_ahead(2).is_none(), "a look is under way");
    assert_eq!(stage.expecting_a_key().await, 0, "a look is under way");
    stage.looked_ahead(order).await;
    assert!(stage.look_ahead(3).is_none(), "feeds no channel here");
    assert_eq!(stage.expecting_a_key().await, 1);
    stage.room.writable = false;
    assert!(stage.look_ahead(2).is_none(), "no key can be written");
    assert_eq!(stage.expecting_a_key().await, 1, "no key can be written");
    stage.room.writable = true;
    stage.refreshed(1, "second").await;
    assert!(stage.look_ahead(2).is_none(), "a key waits");
    assert_eq!(stage.expecting_a_key().await, 1, "a key waits");
    assert_eq!(stage.rows().looks, 1);
}

#[tokio::test]
async fn a_name_that_is_found_to_hold_the_right_key_is_adopted_by_that() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "first").await;
    stage.settle().await;
    stage.list(&[(1, name("one"))]);
    stage.settle().await;
    assert_eq!(stage.room.adoptions[&1].state.selected_by.as_deref(), Some("one"));
    let notes = std::mem::take(&mut stage.room.wishes.notes);
    assert!(matches!(&notes[..], [Change::Adoption(_)]), "{notes:?}");
    stage.settle().await;
    assert!(stage.room.wishes.notes.is_empty(), "noted once");
}

#[tokio::test]
async fn a_credential_without_a_key_sees_that_it_can_deliver_to_a_channel_that_another_record_adopted() {
    let mut stage = Stage::new();
    stage.list(&[(1, name("one"))]);
    stage.refreshed(1, "first").await;
    stage.settle().await;
    stage.list(&[(2, name("one"))]);
    stage.settle().await;
    assert!(stage.room.could_deliver(RecordId(2)));
}

#[tokio::test]
async fn a_vault_that_does_not_answer_is_asked_once_a_second() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "first").await;
    stage.settle().await;
    stage.refreshed(1, "second").await;
    stage.room.look_soon();
    let (origin, mut seen) = stage.look().await.unwrap();
    seen.as_mut().unwrap().ours.clear();
    assert!(stage.judge((origin, seen)).is_none());
    assert!(stage.look().await.is_none(), "not at once");
    stage.now = stage.now + LOOK_OFTEN;
    assert!(stage.look().await.is_some());
}

#[tokio::test]
async fn where_keys_are_not_shown_another_credentials_key_is_not_taken_for_the_current_one() {
    let mut stage = Stage::new();
    stage.rows().shows_keys = false;
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "of-the-first").await;
    stage.settle().await;
    stage.settle().await;
    assert_eq!(stage.rows().written.len(), 1, "what was delivered is taken to be there");
    stage.list(&[(2, id(1))]);
    stage.refreshed(2, "of-the-second").await;
    stage.settle().await;
    assert_eq!(stage.key(1), "of-the-second", "of the same generation, and another key all the same");
}

#[tokio::test]
async fn where_keys_are_not_shown_adopt_writes_at_once_and_once() {
    let mut stage = Stage::new();
    stage.rows().shows_keys = false;
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "ours").await;
    stage.settle().await;
    stage.rows().views.insert(1, view(1, "one", "a-strangers"));
    stage.settle().await;
    assert_eq!(stage.key(1), "a-strangers", "nobody can see it");
    stage.room.adopt(1).expect("it is listed");
    stage.settle().await;
    stage.settle().await;
    assert_eq!((stage.key(1).as_str(), stage.rows().written.len()), ("ours", 2));
}

#[tokio::test]
async fn a_wish_to_take_over_ends_with_our_key_in_the_channel() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "ours").await;
    stage.settle().await;
    stage.room.adopt(1).expect("it is listed");
    stage.settle().await;
    let notes = std::mem::take(&mut stage.room.wishes.notes);
    assert!(matches!(&notes[..], [Change::Adoption(adoption)] if !adoption.state.take_over), "{notes:?}");
    stage.rows().views.insert(1, view(1, "one", "a-strangers"));
    stage.settle().await;
    assert_eq!((stage.key(1).as_str(), stage.states()), ("a-strangers", vec![ChannelState::Foreign]));
}

#[tokio::test]
async fn a_channel_that_is_released_while_a_key_is_on_its_way_gets_its_own_back() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "first").await;
    stage.settle().await;
    stage.refreshed(1, "second").await;
    let look = stage.look().await.unwrap();
    let order = stage.judge(look).expect("the second key");
    stage.room.release(1).expect("it was adopted");
    stage.write(order).await;
    assert!(stage.room.adoptions[&1].state.released, "it is not forgotten");
    stage.settle().await;
    assert_eq!((stage.key(1).as_str(), stage.states()), ("before-1", vec![Released]));
}

#[tokio::test]
async fn a_released_channel_is_on_its_way_until_its_key_is_back() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "ours").await;
    stage.settle().await;
    stage.room.release(1).expect("it was adopted");
    stage.rows().refusal = Some(GatewayError::Database(GatewayReason::Busy { waited_ms: 5 }));
    let look = stage.look().await.unwrap();
    let order = stage.judge(look).expect("the key that was there before");
    let noted = order.deliveries.iter().flat_map(|delivery| &delivery.before);
    let is_released = |change: &Change| matches!(change, Change::Adoption(adoption) if adoption.state.released);
    assert!(noted.clone().count() == 1 && noted.clone().all(is_released), "durable before it is written");
    assert_eq!(stage.states(), [Pending]);
    let record = Record::clone(&stage.records[&RecordId(1)]);
    assert!(!stage.room.has_settled(&record, false), "whether our own key lives or not");
    stage.write(order).await;
    assert_eq!(stage.states(), [Pending]);
    stage.rows().refusal = None;
    stage.settle().await;
    assert_eq!((stage.key(1).as_str(), stage.states()), ("before-1", vec![Released]));
    assert!(stage.room.has_settled(&record, true));
}

#[tokio::test]
async fn a_key_that_the_gateway_does_not_take_back_is_told_of_once() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "ours").await;
    stage.settle().await;
    stage.room.release(1).expect("it was adopted");
    stage.rows().refusal = Some(GatewayError::Channel(ChannelReason::MultiKey));
    stage.topics();
    stage.settle().await;
    stage.settle().await;
    assert_eq!((stage.states(), stage.topics()), (vec![Unsupported], vec![Topic::Undelivered]));
}

#[tokio::test]
async fn what_the_room_before_this_one_saw_is_not_judged_and_what_it_wrote_is_remembered() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1)), (2, id(2))]);
    stage.refreshed(1, "first").await;
    stage.refreshed(2, "second").await;
    let late_look = stage.look().await.unwrap();
    let adoptions = stage.room.adoptions.clone();
    stage.room = room(&stage.rows, adoptions);
    stage.list(&[(1, id(1))]);
    let own = stage.look().await.unwrap();
    assert!(stage.judge(late_look).is_none());
    assert!(stage.room.busy && !stage.room.looked, "its own look is under way still");
    let order = stage.judge(own).expect("the key");
    // The gateway's table changes once more while this is being written.
    let adoptions = stage.room.adoptions.clone();
    stage.room = room(&stage.rows, adoptions);
    stage.list(&[(1, id(1))]);
    let own = stage.look().await.unwrap();
    stage.write(order).await;
    assert!(stage.room.busy, "its own look is under way still");
    assert_eq!(stage.room.adoptions[&1].state.delivered_at, Some(stage.now));
    stage.judge(own);
}

#[tokio::test]
async fn a_row_that_is_changed_before_each_write_is_not_pressed_and_told_after_a_minute() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "ours").await;
    stage.rows().refusal = Some(GatewayError::Channel(ChannelReason::Conflict));
    stage.settle().await;
    let (mut looks, mut told) = (0, Vec::new());
    for second in 1..=120 {
        stage.now = at(second);
        while let Some(look) = stage.look().await {
            looks += 1;
            if let Some(order) = stage.judge(look) {
                stage.write(order).await;
            }
        }
        told.extend(stage.topics().into_iter().map(|topic| (second, topic)));
    }
    assert!(looks < 30, "{looks} looks in two minutes");
    assert!(stage.room.has_settled(&stage.records[&RecordId(1)], true), "a command does not wait for it for ever");
    assert!(matches!(told[..], [(60..75, Topic::Undelivered)]), "{told:?}");
    stage.rows().refusal = None;
    stage.settle().await;
    assert_eq!((stage.states(), stage.topics()), (vec![Delivered], vec![Topic::Recovered]));
}

#[tokio::test]
async fn a_key_that_its_gateway_does_not_load_has_not_arrived_and_is_told_after_a_minute() {
    let mut stage = Stage::beside_an_admin_api();
    stage.list(&[(1, id(1)), (2, id(2))]);
    for record in [1, 2] {
        stage.refreshed(record, "first").await;
    }
    stage.settle().await;
    assert_eq!(stage.states(), [Delivered, Delivered]);

    let reason = GatewayReason::from(ApiFailure::Denied);
    stage.rows().unloaded = Some(Unloaded { reason: reason.clone(), channels: [1].into() });
    let mut told = Vec::new();
    for second in [15, 30, 60, 90, 105, 120] {
        stage.now = at(second);
        // Another key ends nothing: the gateway does not load that one either.
        if second == 105 {
            stage.refreshed(1, "second").await;
        }
        stage.settle().await;
        told.extend(stage.events.drain(..).map(|event| (second, event.topic, event.reason)));
        assert_eq!(stage.states(), [Pending, Delivered], "at {second} s");
    }
    assert_eq!(stage.key(1), "second");
    assert_eq!(told, [(90, Topic::Undelivered, Some(reason.clone().into()))]);
    assert_eq!((stage.room.trouble_of(Some(1)), stage.room.trouble_of(Some(2))), (Some(&reason), None));
    assert!(stage.room.has_settled(&stage.records[&RecordId(1)], true), "a command does not wait for it for ever");

    stage.rows().unloaded = None;
    stage.settle().await;
    assert_eq!((stage.states(), stage.topics()), (vec![Delivered, Delivered], vec![Topic::Recovered]));
}

#[tokio::test]
async fn a_key_beside_an_admin_api_has_settled_when_a_look_says_that_its_gateway_was_told() {
    let mut stage = Stage::beside_an_admin_api();
    stage.list(&[(1, id(1)), (2, id(2))]);
    let has_settled = |stage: &Stage| [1, 2].map(|id| stage.room.has_settled(&stage.records[&RecordId(id)], true));
    for record in [1, 2] {
        stage.refreshed(record, "first").await;
    }
    let look = stage.look().await.unwrap();
    let order = stage.judge(look).unwrap();
    stage.write(order).await;
    assert_eq!((stage.states(), has_settled(&stage)), (vec![Delivered, Delivered], [false, false]));

    stage.rows().unloaded = Some(Unloaded { reason: ApiFailure::Denied.into(), channels: [1].into() });
    stage.room.look_whether_told();
    let look = stage.look().await.expect("somebody waits for it");
    assert!(stage.judge(look).is_none());
    assert_eq!((stage.states(), has_settled(&stage)), (vec![Pending, Delivered], [true, true]));
    stage.room.look_whether_told();
    assert!(stage.look().await.is_none(), "it is known");
}

#[tokio::test]
async fn a_failure_that_stops_many_keys_is_one_failure() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1)), (2, id(2))]);
    stage.refreshed(1, "first").await;
    stage.refreshed(2, "second").await;
    stage.rows().refusal = Some(GatewayError::Database(GatewayReason::Failed { error: "a test".into() }));
    stage.settle().await;
    assert_eq!((stage.room.failures, stage.room.next_look), (1, stage.now + LOOK_OFTEN));
}

#[tokio::test]
async fn after_a_start_the_key_that_the_record_had_is_replaced_without_asking_the_vault() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "first").await;
    stage.settle().await;
    stage.room.targets[0].fingerprinted = None;
    stage.refreshed(1, "second").await;
    let _other = stage.forget_the_vault();
    stage.settle().await;
    assert_eq!(stage.key(1), "second");
}

#[tokio::test]
async fn our_own_key_of_a_moment_ago_is_replaced_without_asking_the_vault() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.refreshed(1, "first").await;
    stage.settle().await;
    stage.refreshed(1, "second").await;
    let _other = stage.forget_the_vault();
    stage.settle().await;
    assert_eq!(stage.key(1), "second");
    stage.rows().views.get_mut(&1).unwrap().key = Some(Secret::new("first"));
    stage.room.look_soon();
    let look = stage.look().await.unwrap();
    assert!(stage.judge(look).is_none(), "the key before that is one the vault must know, and this one does not");
}

#[tokio::test]
async fn a_room_is_behind_while_many_keys_wait_that_could_be_written() {
    let mut stage = Stage::new();
    let listed: Vec<(i64, ChannelSelect)> = (1..=BEHIND as i64).map(|number| (number, id(number))).collect();
    stage.list(&listed);
    for (record, _) in &listed[1..] {
        stage.refreshed(*record, &format!("key-{record}")).await;
    }
    assert!(!stage.room.is_behind(0));
    assert!(stage.room.is_behind(1), "one more waits for the vault");
    stage.refreshed(1, "key-1").await;
    assert!(stage.room.is_behind(0));
    stage.room.trouble = Some((GatewayReason::Moved, stage.now));
    assert!(!stage.room.is_behind(0), "what cannot be written at all holds up no token");
    stage.room.trouble = None;
    stage.settle().await;
    assert!(!stage.room.is_behind(0));
}

#[tokio::test]
async fn the_lag_is_told_to_have_changed_when_the_gateway_learned_something() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1))]);
    stage.settle().await;
    stage.room.lag_changed();
    assert!(!stage.room.lag_changed());
    stage.rows().immediate = true;
    stage.settle().await;
    assert_eq!((stage.room.lag_changed(), stage.room.lag_changed()), (true, false));
}

#[tokio::test]
async fn two_targets_that_mean_one_channel_are_noticed_whichever_is_looked_at() {
    let mut stage = Stage::new();
    stage.list(&[(1, id(1)), (2, name("one")), (3, id(2))]);
    stage.refreshed(1, "first").await;
    stage.refreshed(3, "third").await;
    stage.settle().await;
    assert_eq!(stage.states(), [Delivered, Conflict, Delivered]);
    let written = stage.rows().written.len();
    // A new key has its own channel looked at, and no other.
    stage.refreshed(2, "second").await;
    while let Some(look) = stage.look().await {
        assert!(stage.judge(look).is_none(), "nothing is to be written");
    }
    assert_eq!((stage.states()[1], stage.key(1).as_str()), (Conflict, "first"));
    assert_eq!(stage.rows().written.len(), written);
}
