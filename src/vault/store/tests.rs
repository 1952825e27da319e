//! The store by itself: what is committed, refused, sealed, counted.

use super::*;
use crate::channel::ownership::Adoption;
use crate::credential::event::{Event, Topic};
use crate::credential::record::{AccessGrant, ClientIdentity, Record};
use crate::reason::TokenReason;
use crate::secret::Secret;
use crate::time::Timestamp;

fn open(path: &Path) -> Result<Store, VaultError> {
    Store::open(path, None, 1)
}

fn note(changes: Vec<Change>) -> Group {
    Group { purpose: Purpose::Note, changes }
}

fn record(id: i64) -> Record {
    Record {
        id: RecordId(id),
        name: format!("credential-{id}"),
        client: ClientIdentity { grant_type: "refresh_token".into(), client_id: "app".into() },
        refresh_token: Some(Secret::new("refresh")),
        candidate: None,
        access: Some(AccessGrant {
            token: Secret::new("access"),
            id_token: None,
            fields: [("/a".to_owned(), Secret::new("b"))].into(),
            issued_at: Timestamp::from_seconds(1),
            expires_at: Timestamp::from_seconds(61),
            lifetime_assumed: false,
        }),
        state: crate::credential::record::State {
            generation: 3,
            last_error: Some(Box::new(TokenReason::ServerError { status: 502 }.into())),
            ..Default::default()
        },
    }
}

#[test]
fn events_are_read_from_the_oldest_on_and_those_of_another_version_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("vault.db")).unwrap();
    let event = |second| Event::new(Timestamp::from_seconds(second), Topic::Started);
    store.commit(&[note(vec![Change::Event(Box::new(event(1)))])]);
    store.connection.execute("INSERT INTO event (at, body) VALUES (2, '{\"topic\":\"of tomorrow\"}')", []).unwrap();
    store.commit(&[note(vec![Change::Event(Box::new(event(3)))])]);
    assert_eq!(store.contents().unwrap().events, [event(1), event(3)]);
}

#[test]
fn what_is_committed_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let adoption = Adoption {
        gateway: "default".into(),
        channel: 1,
        created_time: 7,
        name: "codex-a".into(),
        record: RecordId(1),
        displaced: Some(Secret::new("before")),
        state: crate::channel::ownership::AdoptionState { generation: 3, ..Default::default() },
    };
    {
        let mut store = open(&path).unwrap();
        let fingerprint = store.fingerprinter().of(&Secret::new("seed"));
        let seen = Change::Seen {
            record: RecordId(1),
            kind: FingerprintKind::RefreshToken,
            fingerprint,
            at: Timestamp::EPOCH,
        };
        let groups = [
            note(vec![Change::Record(Box::new(record(1))), seen]),
            note(vec![Change::Adoption(Box::new(adoption.clone())), Change::Notices("{}".into())]),
        ];
        assert_eq!(store.commit(&groups), [Ok(()), Ok(())]);
    }
    let mut store = open(&path).unwrap();
    let contents = store.contents().unwrap();
    assert_eq!(contents.records, [record(1)]);
    assert_eq!(contents.adoptions, [adoption]);
    assert_eq!(contents.notices.as_deref(), Some("{}"));
    let fingerprint = store.fingerprinter().of(&Secret::new("seed"));
    assert_eq!(store.seen_by(FingerprintKind::RefreshToken, fingerprint), Ok(vec![RecordId(1)]));
    assert_eq!(store.seen_by(FingerprintKind::Key, fingerprint), Ok(vec![]));
    let both = [FingerprintKind::RefreshToken, FingerprintKind::Key].map(|kind| (kind, fingerprint));
    assert_eq!(store.seen_by_each(&both), [Ok(vec![RecordId(1)]), Ok(vec![])]);
    assert_eq!(store.commit(&[note(vec![])]), [Ok(())], "nothing is left open");
}

#[test]
fn the_log_may_grow_in_a_storm_and_shrinks_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let mut store = open(&path).unwrap();
    let sizes: Vec<i64> = (0..40)
        .map(|turn: u8| {
            let notices = char::from(b'A' + turn).to_string().repeat(1 << 20);
            assert_eq!(store.commit(&[note(vec![Change::Notices(notices)])]), [Ok(())]);
            std::fs::metadata(path.with_extension("db-wal")).unwrap().len().try_into().unwrap()
        })
        .collect();
    let most = sizes.iter().max().unwrap();
    assert!((2 * LOG_AT_REST..5 * LOG_AT_REST).contains(most), "{sizes:?}");
    let grown = sizes.iter().position(|size| size == most).unwrap();
    assert!(sizes[grown..].iter().any(|size| *size <= LOG_AT_REST), "{sizes:?}");
}

#[test]
fn what_is_not_our_vault_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    for bytes in [&b"this is not a database, it is a letter to somebody"[..], &[0xff; 4096][..]] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path).err().unwrap();
        assert!(matches!(error.0, VaultReason::NotAVault { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(matches!(open(&path).err().unwrap().0, VaultReason::NotAVault { .. }));
}

#[test]
fn a_newer_vault_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    drop(open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", OURS.number() + 1).unwrap();
    let error = open(&path).err().unwrap();
    assert_eq!(error.0, VaultReason::Newer { found: OURS.number() + 1, known: OURS.number() });
}

#[test]
fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    drop(open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

fn key() -> EncryptionKey {
    EncryptionKey::parse(&EncryptionKey::generate().unwrap()).unwrap()
}

/// Every byte of the vault and its log.
fn bytes(path: &Path) -> Vec<u8> {
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    [read(path), read(&place::with_suffix(path, "-wal"))].concat()
}

fn holds(path: &Path, text: &str) -> bool {
    bytes(path).windows(text.len()).any(|window| window == text.as_bytes())
}

/// Every file beside the vault, with what is in it.
fn files(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = all.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

fn with_secrets(n: i64) -> Record {
    Record {
        refresh_token: Some(Secret::new(format!("sentinel-refresh-{n}"))),
        candidate: Some(Secret::new(format!("sentinel-candidate-{n}"))),
        ..record(n)
    }
}

#[test]
fn a_key_seals_a_plain_vault_and_leaves_nothing_plain_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let mut store = open(&path).unwrap();
    let seed = store.fingerprinter().of(&Secret::new("seed"));
    for round in 0..40 {
        let records = (1..=20).map(|n| Change::Record(Box::new(with_secrets(n * 100 + round))));
        store.commit(&[note(records.collect())]).remove(0).unwrap();
    }
    // Free pages, too.
    store.connection.execute("DELETE FROM record WHERE id % 100 > 4", []).unwrap();
    let contents = store.contents().unwrap();
    drop(store);
    assert!(holds(&path, "sentinel"));

    let key = key();
    let mut store = Store::open(&path, Some(&key), 1).unwrap();
    assert!(store.is_sealed());
    assert_eq!(store.contents().unwrap(), contents);
    assert_eq!(store.fingerprinter().of(&Secret::new("seed")), seed, "fingerprints are as before");
    assert!(!holds(&path, "sentinel"), "while it is open");
    assert_eq!(rows::meta(&store.connection, "scrub").unwrap(), None);
    store.commit(&[note(vec![Change::Record(Box::new(with_secrets(9999)))])]).remove(0).unwrap();
    assert!(!holds(&path, "sentinel"), "after a commit");
    drop(store);
    assert!(!holds(&path, "sentinel"));
}

#[test]
fn an_interrupted_sealing_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let mut store = open(&path).unwrap();
    store.commit(&[note(vec![Change::Record(Box::new(with_secrets(1)))])]).remove(0).unwrap();
    // As a crash leaves it: sealed, but the log still holds what was there before.
    let key = key();
    store.reseal(&key).unwrap();
    std::mem::forget(store);
    assert!(holds(&path, "sentinel"));
    let store = Store::open(&path, Some(&key), 1);
    // The forgotten connection does not read, so nothing is in the way of the scrubbing.
    assert_eq!(store.unwrap().contents().unwrap().records, [with_secrets(1)]);
    assert!(!holds(&path, "sentinel"));
}

#[test]
fn row_60_a_wrong_or_missing_key_is_refused_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let (ours, theirs) = (key(), key());
    let mut store = Store::open(&path, Some(&ours), 1).unwrap();
    store.commit(&[note(vec![Change::Record(Box::new(with_secrets(1)))])]).remove(0).unwrap();
    drop(store);
    let before = files(folder.path());
    for (key, configured) in [(None, false), (Some(&theirs), true)] {
        let wrong = VaultError(VaultReason::WrongKey { configured });
        assert_eq!(Store::open(&path, key, 1).err(), Some(wrong.clone()));
        assert_eq!(Store::look(&path, key).err(), Some(wrong));
        assert_eq!(files(folder.path()), before);
    }
    let mut store = Store::open(&path, Some(&ours), 1).unwrap();
    store.rekey(&theirs).unwrap();
    drop(store);
    assert_eq!(Store::open(&path, Some(&ours), 1).err().unwrap().0, VaultReason::WrongKey { configured: true });
    let store = Store::open(&path, Some(&theirs), 1).unwrap();
    assert_eq!(store.contents().unwrap().records, [with_secrets(1)]);
}

#[test]
fn a_sealed_secret_moved_to_another_row_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let key = key();
    let mut store = Store::open(&path, Some(&key), 1).unwrap();
    let records = (1..=2).map(|n| Change::Record(Box::new(with_secrets(n))));
    store.commit(&[note(records.collect())]).remove(0).unwrap();
    let swap = "UPDATE record SET refresh_token = (SELECT refresh_token FROM record WHERE id = 2) WHERE id = 1";
    store.connection.execute(swap, []).unwrap();
    assert!(matches!(store.contents().unwrap_err().0, VaultReason::Damaged { .. }));
}

#[test]
fn row_13_damage_is_found_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let mut store = open(&path).unwrap();
    for n in 1..=200 {
        store.commit(&[note(vec![Change::Record(Box::new(with_secrets(n)))])]).remove(0).unwrap();
    }
    drop(store);
    std::fs::remove_file(commits::path_of(&path)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let mut scrambled = whole.clone();
    let middle = whole.len() / 4096 / 2 * 4096;
    scrambled[middle..middle + 4096].fill(0xa5);
    for damaged in [half, scrambled] {
        std::fs::write(&path, &damaged).unwrap();
        let before = files(folder.path());
        let error = open(&path).err().unwrap();
        assert!(matches!(error.0, VaultReason::Damaged { .. }), "{error:?}");
        assert_eq!(files(folder.path()), before, "{error:?}");
    }
}

#[test]
fn a_crashed_vault_is_refused_without_touching_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let key = key();
    let mut store = Store::open(&path, Some(&key), 1).unwrap();
    store.commit(&[note(vec![Change::Record(Box::new(with_secrets(1)))])]).remove(0).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("vault.db");
    for suffix in ["", "-wal"] {
        std::fs::copy(place::with_suffix(&path, suffix), place::with_suffix(&copy, suffix)).unwrap();
    }
    let before = files(copies.path());
    assert_eq!(open(&copy).err().unwrap().0, VaultReason::WrongKey { configured: false });
    assert_eq!(files(copies.path()), before);
    assert_eq!(Store::look(&copy, Some(&key)).unwrap().contents().unwrap().records, [with_secrets(1)]);
    assert_eq!(files(copies.path()), before, "a look leaves no trace");
    assert_eq!(Store::open(&copy, Some(&key), 1).unwrap().contents().unwrap().records, [with_secrets(1)]);
}

#[test]
fn row_61_an_older_state_is_noticed_until_it_is_dealt_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let commit = |store: &mut Store, change| store.commit(&[note(vec![change])]).remove(0).unwrap();
    let mut store = open(&path).unwrap();
    commit(&mut store, Change::Notices("1".into()));
    drop(store);
    let backup = std::fs::read(&path).unwrap();
    let mut store = open(&path).unwrap();
    assert!(!store.is_behind());
    (0..5).for_each(|_| commit(&mut store, Change::Notices("2".into())));
    drop(store);

    std::fs::write(&path, &backup).unwrap();
    let mut store = open(&path).unwrap();
    assert!(store.contents().unwrap().behind);
    commit(&mut store, Change::Notices("3".into()));
    drop(store);
    let mut store = open(&path).unwrap();
    assert!(store.is_behind(), "a crash before it was dealt with");
    commit(&mut store, Change::CaughtUp);
    drop(store);
    assert!(!open(&path).unwrap().is_behind());

    std::fs::write(&path, &backup).unwrap();
    std::fs::remove_file(commits::path_of(&path)).unwrap();
    assert!(!open(&path).unwrap().is_behind(), "without the count nothing is noticed");
}

#[test]
fn a_vault_that_was_there_and_is_gone_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    std::fs::write(&path, "").unwrap();
    let mut store = open(&path).unwrap();
    store.commit(&[note(vec![Change::Notices("1".into())])]).remove(0).unwrap();
    drop(store);
    std::fs::write(&path, "").unwrap();
    assert!(matches!(open(&path).err().unwrap().0, VaultReason::Gone { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(&path).err().unwrap().0, VaultReason::Gone { .. }));
    assert!(!path.exists());
    assert_eq!(crate::vault::aside::set_aside(&path, Timestamp::EPOCH), Ok(None));
    assert!(open(&path).is_ok());
}

#[test]
fn without_room_for_its_answer_no_request_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let mut store = open(&path).unwrap();
    // Nothing can be reserved where a directory is.
    std::fs::create_dir(path.with_extension("reserve")).unwrap();
    let group = |purpose| Group { purpose, changes: vec![Change::Notices("1".into())] };
    let groups = [Purpose::BeforeSending, Purpose::Answer, Purpose::Note].map(group);
    let results = store.commit(&groups);
    assert!(results[0].is_err() && results[2].is_err(), "{results:?}");
    assert_eq!(results[1], Ok(()));
    std::fs::remove_dir(path.with_extension("reserve")).unwrap();
    assert_eq!(store.commit(&groups), [Ok(()), Ok(()), Ok(())]);
}

#[test]
fn others_may_not_read_a_plain_vault() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    drop(open(&path).unwrap());
    set_mode(0o640);
    let reason = VaultReason::ReadableByOthers { path: path.display().to_string(), mode: "640".into() };
    assert_eq!(open(&path).err(), Some(VaultError(reason)));
    set_mode(0o600);
    let key = key();
    drop(Store::open(&path, Some(&key), 1).unwrap());
    set_mode(0o640);
    assert!(Store::open(&path, Some(&key), 1).is_ok(), "sealed, it is only warned of");
}
