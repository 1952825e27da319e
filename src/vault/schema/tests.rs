//! Vaults of every schema so far, and steps that no version has yet: brought forward, interrupted, refused.

use super::*;
use crate::channel::ownership::{Adoption, AdoptionState};
use crate::credential::record::{AccessGrant, ClientIdentity, Record, RecordId, State};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::vault::backing::{Group, Purpose};
use crate::vault::seal::EncryptionKey;
use crate::vault::store::Store;
use crate::vault::{Change, Contents, FingerprintKind, VaultError};

/// Seals the fixtures; nobody else uses it.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn key() -> EncryptionKey {
    EncryptionKey::parse(&Secret::new(KEY)).unwrap()
}

/// What the fixtures hold.
fn contents() -> Contents {
    Contents {
        records: vec![Record {
            id: RecordId(1),
            name: "openai".into(),
            client: ClientIdentity { grant_type: "refresh_token".into(), client_id: "app".into() },
            refresh_token: Some(Secret::new("sentinel-refresh")),
            candidate: Some(Secret::new("sentinel-candidate")),
            access: Some(AccessGrant {
                token: Secret::new("sentinel-access"),
                id_token: Some(Secret::new("sentinel-identity")),
                fields: [("/team".to_owned(), Secret::new("sentinel-field"))].into(),
                issued_at: Timestamp::from_seconds(1_767_323_045),
                expires_at: Timestamp::from_seconds(1_767_326_645),
                lifetime_assumed: false,
            }),
            state: State { generation: 3, ..State::default() },
        }],
        adoptions: vec![Adoption {
            gateway: "default".into(),
            channel: 1,
            created_time: 7,
            name: "codex-a".into(),
            record: RecordId(1),
            displaced: Some(Secret::new("sentinel-displaced")),
            state: AdoptionState { generation: 3, ..AdoptionState::default() },
        }],
        events: Vec::new(),
        notices: Some("{}".into()),
        behind: false,
    }
}

fn fill(store: &mut Store) {
    let Contents { records, adoptions, notices, .. } = contents();
    let fingerprint = store.fingerprinter().of(&Secret::new("seed"));
    let at = Timestamp::from_seconds(1_767_323_045);
    let seen = Change::Seen { record: RecordId(1), kind: FingerprintKind::RefreshToken, fingerprint, at };
    let records = records.into_iter().map(|record| Change::Record(Box::new(record)));
    let adoptions = adoptions.into_iter().map(|adoption| Change::Adoption(Box::new(adoption)));
    let changes = records.chain(adoptions).chain(notices.map(Change::Notices)).chain([seen]).collect();
    store.commit(&[Group { purpose: Purpose::Note, changes }]).remove(0).unwrap();
}

/// A vault as this version makes it.
fn begun(path: &Path, key: Option<&EncryptionKey>) {
    fill(&mut Store::open(path, key, 0).unwrap());
}

fn fixture(schema: i64, sealed: bool) -> PathBuf {
    let name = format!("schema-{schema}{}.db", if sealed { "-sealed" } else { "" });
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vault").join(name)
}

/// Every file beside the vault, with what is in it.
fn files(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = all.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

fn version(path: &Path) -> i64 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Two steps that no version has: a column, and a table with something sealed in it.
const AHEAD: Schema = Schema(&[adds_a_column, seals_something]);

fn adds_a_column(transaction: &Transaction<'_>, _: &Seal) -> Result<(), Failure> {
    Ok(transaction.execute_batch("ALTER TABLE record ADD COLUMN remark TEXT NOT NULL DEFAULT 'none'")?)
}

fn seals_something(transaction: &Transaction<'_>, seal: &Seal) -> Result<(), Failure> {
    transaction.execute_batch("CREATE TABLE more (value BLOB NOT NULL) STRICT")?;
    transaction.execute("INSERT INTO more VALUES (?1)", [seal.keep("more", b"sentinel-more")?])?;
    Ok(())
}

fn fails(transaction: &Transaction<'_>, _: &Seal) -> Result<(), Failure> {
    transaction.execute_batch("DELETE FROM record; CREATE TABLE half (x); INSERT INTO nowhere VALUES (1)")?;
    Ok(())
}

fn dies(transaction: &Transaction<'_>, _: &Seal) -> Result<(), Failure> {
    transaction.execute_batch("DELETE FROM record; CREATE TABLE half (x)")?;
    std::process::abort()
}

#[test]
fn a_vault_of_every_schema_so_far_is_opened_with_all_that_is_in_it() {
    for schema in FIRST..=OURS.number() {
        for sealed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("vault.db");
            let key = sealed.then(key);
            if schema == OURS.number() && std::env::var_os("WRITE_FIXTURES").is_some() {
                begun(&path, key.as_ref());
                std::fs::copy(&path, fixture(schema, sealed)).unwrap();
                std::fs::remove_file(&path).unwrap();
                std::fs::remove_file(path.with_extension("commits")).unwrap();
            }
            let bytes = std::fs::read(fixture(schema, sealed)).expect("made by WRITE_FIXTURES=1, before a release");
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let store = Store::open(&path, key.as_ref(), 0).unwrap();
            assert_eq!((store.contents().unwrap(), store.is_sealed()), (contents(), sealed), "schema {schema}");
            let seed = store.fingerprinter().of(&Secret::new("seed"));
            assert_eq!(store.seen_by(FingerprintKind::RefreshToken, seed), Ok(vec![RecordId(1)]));
            drop(store);
            assert_eq!(version(&path), OURS.number());
            assert_eq!(copy_of(&path, schema).exists(), schema < OURS.number());
        }
    }
}

#[test]
fn an_older_vault_is_brought_forward_and_its_copy_takes_one_back() {
    for key in [None, Some(key())] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.db");
        begun(&path, key.as_ref());
        let store = Store::open_as(AHEAD, &path, key.as_ref(), 0).unwrap();
        assert_eq!(store.contents().unwrap(), contents());
        drop(store);
        let connection = Connection::open(&path).unwrap();
        let remark: String = connection.query_row("SELECT remark FROM record", [], |row| row.get(0)).unwrap();
        let more: Vec<u8> = connection.query_row("SELECT value FROM more", [], |row| row.get(0)).unwrap();
        drop(connection);
        assert_eq!(remark, "none");
        assert_eq!(Seal::with(key.as_ref()).take("more", &more).unwrap().as_slice(), b"sentinel-more");

        // An older program refuses it, and goes on with the copy.
        let before = files(folder.path());
        let newer = VaultError(VaultReason::Newer { found: 3, known: 1 });
        assert_eq!(Store::open(&path, key.as_ref(), 0).err(), Some(newer));
        assert_eq!(files(folder.path()), before);
        let copy = copy_of(&path, 1);
        assert_eq!(copy, folder.path().join("vault.db.schema-1.bak"));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let plain = std::fs::read(&copy).unwrap().windows(8).any(|window| window == b"sentinel");
        assert_eq!(plain, key.is_none(), "the copy is sealed as the vault is");
        std::fs::rename(&copy, &path).unwrap();
        assert_eq!(Store::open(&path, key.as_ref(), 0).unwrap().contents().unwrap(), contents());
    }
}

#[test]
fn who_only_looks_is_told_that_the_vault_is_an_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    begun(&path, None);
    let connection = Connection::open(&path).unwrap();
    assert_eq!(AHEAD.recognise(&connection).unwrap(), Recognised::Older(1));
    assert_eq!(OURS.recognise(&connection).unwrap(), Recognised::Vault);
    connection.pragma_update(None, "user_version", 0).unwrap();
    assert!(matches!(AHEAD.recognise(&connection), Err(Failure::NotAVault)));
}

#[test]
fn a_step_that_fails_leaves_the_vault_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    begun(&path, None);
    assert!(Store::open_as(Schema(&[adds_a_column, fails]), &path, None, 0).is_err());
    assert_eq!(Store::open(&path, None, 0).unwrap().contents().unwrap(), contents());
    assert_eq!(Store::open_as(AHEAD, &path, None, 0).unwrap().contents().unwrap(), contents());
}

#[test]
fn a_wrong_key_brings_nothing_forward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    begun(&path, Some(&key()));
    let before = files(folder.path());
    let other = EncryptionKey::parse(&EncryptionKey::generate().unwrap()).unwrap();
    for (wrong, configured) in [(None, false), (Some(&other), true)] {
        let refused = VaultError(VaultReason::WrongKey { configured });
        assert_eq!(Store::open_as(AHEAD, &path, wrong, 0).err(), Some(refused));
        assert_eq!(files(folder.path()), before);
    }
}

#[test]
fn without_its_copy_nothing_is_brought_forward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    begun(&path, None);
    // Nothing can be written where a directory is.
    let unfinished = place::with_suffix(&copy_of(&path, 1), ".part");
    std::fs::create_dir(&unfinished).unwrap();
    let refused = Store::open_as(AHEAD, &path, None, 0).err().unwrap();
    assert!(matches!(refused.0, VaultReason::Unwritable { .. }), "{refused:?}");
    assert_eq!(version(&path), 1);
    std::fs::remove_dir(&unfinished).unwrap();
    assert!(Store::open_as(AHEAD, &path, None, 0).is_ok());
}

#[test]
fn an_upgrade_that_was_killed_begins_again() {
    const VAULT: &str = "UPGRADE_TO_KILL";
    if let Some(path) = std::env::var_os(VAULT) {
        drop(Store::open_as(Schema(&[adds_a_column, dies]), Path::new(&path), Some(&key()), 0));
        unreachable!("the second step ends the process");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.db");
    begun(&path, Some(&key()));
    std::fs::write(copy_of(&path, 1), "the copy of an earlier upgrade").unwrap();
    std::fs::write(place::with_suffix(&copy_of(&path, 1), ".part"), "half of a copy").unwrap();
    let killed = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "vault::schema::tests::an_upgrade_that_was_killed_begins_again"])
        .env(VAULT, &path)
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(killed.status.signal(), Some(6), "{killed:?}");
    assert_eq!(version(&path), 1);
    assert_eq!(version(&copy_of(&path, 1)), 1, "the copy is whole");
    assert_eq!(Store::open(&path, Some(&key()), 0).unwrap().contents().unwrap(), contents());
    assert_eq!(Store::open_as(AHEAD, &path, Some(&key()), 0).unwrap().contents().unwrap(), contents());
    assert_eq!(version(&path), 3);
    let names: Vec<_> = files(folder.path()).into_iter().map(|(name, _)| name).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{names:?}");
}
