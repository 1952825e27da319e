//! Where a gateway's database lies, and who may write there: permissions, mounts, a full disk.
//!
//! What needs mounts runs this test again in a mount namespace of its own; where there is none to be had, it says so
//! and passes.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use one_api_sidecar::gateway::Gateway;
use one_api_sidecar::gateway::sqlite::SqliteGateway;
use one_api_sidecar::reason::{GatewayReason, Reason};
use rustix::process::{Gid, Uid};
use support::gateway::{Database, database_reason, feed, key, look, plan, publication, publish, snapshot_all_rows};

fn gateway(database: &Path) -> SqliteGateway {
    SqliteGateway::new(database.to_owned(), Arc::new(plan(database)))
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs on a thread that is not root: credentials belong to threads, on Linux.
fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let (group, user) = (Gid::from_raw(65534), Uid::from_raw(65534));
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            run()
        });
        thread.join().unwrap()
    })
}

#[test]
fn row_29_a_file_or_directory_of_somebody_else_is_told_by_name() {
    let database = Database::fixture("one-api.db");
    let path = database.path().canonicalize().unwrap();
    let folder = path.parent().unwrap();
    let mut gateway = gateway(&path);
    let publication = publication(&look(&mut gateway, 1), "new");

    for (file_mode, folder_mode, at_fault) in
        [(0o444, 0o777, path.as_path()), (0o000, 0o777, &path), (0o666, 0o555, folder), (0o444, 0o555, &path)]
    {
        set_mode(&path, file_mode);
        set_mode(folder, folder_mode);
        let (probed, published, examined) =
            as_nobody(|| (gateway.probe(), publish(&mut gateway, &publication), gateway.examine()));
        let shown = format!("file {file_mode:o}, folder {folder_mode:o}");
        for reason in [database_reason(probed), database_reason(published)] {
            let (GatewayReason::ReadOnlyFile { path, owner, us }
            | GatewayReason::ReadOnlyDirectory { path, owner, us }) = &reason
            else {
                panic!("{shown}: {reason:?}")
            };
            assert_eq!(Path::new(path), at_fault, "{shown}");
            assert_eq!(matches!(reason, GatewayReason::ReadOnlyFile { .. }), at_fault != folder, "{shown}");
            if rustix::process::geteuid().is_root() {
                assert_eq!((owner.as_str(), us.as_str()), ("0:0", "65534:65534"), "{shown}");
            }
        }
        assert_eq!(examined.len(), if (file_mode, folder_mode) == (0o444, 0o555) { 2 } else { 1 }, "{shown}");
    }
    set_mode(folder, 0o755);
    set_mode(&path, 0o644);
    assert_eq!(database.key(1), "fixture-access-token-1");
    gateway.probe().unwrap();
}

#[test]
fn what_can_be_read_can_be_looked_at_without_being_writable() {
    let database = Database::fixture("one-api.db");
    set_mode(database.folder(), 0o555);
    set_mode(database.path(), 0o444);
    let views = as_nobody(|| gateway(database.path()).list());
    set_mode(database.folder(), 0o755);
    assert_eq!(views.unwrap().len(), 7);
}

#[test]
fn a_probe_leaves_no_trace_and_a_sound_gateway_has_no_findings() {
    let database = Database::fixture("new-api-2026.db");
    let before = snapshot_all_rows(database.path());
    let mut gateway = gateway(database.path());
    let trace = gateway.trace();
    gateway.probe().unwrap();
    assert_eq!(gateway.examine(), []);
    assert_eq!(gateway.trace(), trace);
    assert_eq!(snapshot_all_rows(database.path()), before);
    assert_eq!(database.files(), ["one-api.db"]);
}

#[test]
fn a_finding_names_the_gateway() {
    let database = Database::absent();
    let findings = gateway(database.path()).examine();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].about, r#"gateway "default""#);
    assert!(matches!(findings[0].reason, Reason::Gateway(GatewayReason::Missing { .. })));
}

#[test]
fn row_28_a_full_disk_keeps_the_old_key() {
    if !in_own_mounts("row_28_a_full_disk_keeps_the_old_key") {
        return;
    }
    let database = Database::fixture("one-api.db");
    let disk = Tmpfs::mount(database.folder().join("disk"), "size=400k");
    let path = disk.copy_of(&database);
    let filler = disk.0.join("filler");
    let _no_room_left = std::fs::write(&filler, vec![0; 1 << 20]).unwrap_err();

    let mut gateway = gateway(&path);
    let publication = publication(&look(&mut gateway, 1), "new");
    let full = GatewayReason::Full { path: path.display().to_string() };
    assert_eq!(database_reason(publish(&mut gateway, &publication)), full);
    assert_eq!(key(&look(&mut gateway, 1)), "fixture-access-token-1");

    std::fs::remove_file(filler).unwrap();
    publish(&mut gateway, &publication).unwrap();
    assert_eq!(key(&look(&mut gateway, 1)), "new");
}

#[test]
fn row_30_a_read_only_mount_is_told_and_so_is_a_journal_that_cannot_be_rolled_back_there() {
    if !in_own_mounts("row_30_a_read_only_mount_is_told_and_so_is_a_journal_that_cannot_be_rolled_back_there") {
        return;
    }
    let database = Database::fixture("one-api.db");
    let crashed = database.as_a_kill_would_leave_it();
    let disk = Tmpfs::mount(database.folder().join("disk"), "size=4m");
    let path = disk.copy_of(&database);
    let hot = disk.0.join("hot.db");
    std::fs::copy(crashed.path(), &hot).unwrap();
    std::fs::copy(crashed.path().with_extension("db-journal"), hot.with_extension("db-journal")).unwrap();
    disk.remount_read_only();

    let read_only = GatewayReason::ReadOnlyMount { path: path.display().to_string() };
    let mut mounted = gateway(&path);
    assert_eq!(database_reason(mounted.probe()), read_only);
    let publication = publication(&look(&mut mounted, 1), "new");
    assert_eq!(database_reason(publish(&mut mounted, &publication)), read_only);

    let stuck = GatewayReason::HotJournal { path: hot.display().to_string() };
    assert_eq!(database_reason(gateway(&hot).list()), stuck);
}

#[test]
fn row_59_a_database_that_is_itself_a_mount_point_is_refused() {
    if !in_own_mounts("row_59_a_database_that_is_itself_a_mount_point_is_refused") {
        return;
    }
    let database = Database::fixture("one-api.db");
    let mounted = database.folder().join("in a container.db");
    std::fs::write(&mounted, "").unwrap();
    run("mount", &["--bind", database.path().to_str().unwrap(), mounted.to_str().unwrap()]);
    let shared = GatewayReason::SharedInode { path: mounted.display().to_string() };
    assert_eq!(database_reason(gateway(&mounted).list()), shared);
    run("umount", &[mounted.to_str().unwrap()]);
    feed(&mut gateway(database.path()), 1, "new").unwrap();
}

/// A small disk of our own.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(at: std::path::PathBuf, options: &str) -> Self {
        std::fs::create_dir(&at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", at.to_str().unwrap()]);
        Self(at)
    }

    fn copy_of(&self, database: &Database) -> std::path::PathBuf {
        let path = self.0.join("one-api.db");
        std::fs::copy(Database::fixture("one-api.db").path(), &path).unwrap();
        assert_ne!(path, database.path());
        path
    }

    fn remount_read_only(&self) {
        run("mount", &["-o", "remount,ro", self.0.to_str().unwrap()]);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// Whether this is the run in a mount namespace of its own; if not, makes that run and passes its outcome on.
fn in_own_mounts(test: &str) -> bool {
    const INSIDE: &str = "ONE_API_SIDECAR_TEST_IN_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let can =
        |flags: &&str| Command::new("unshare").args([flags, "true"]).output().is_ok_and(|ran| ran.status.success());
    let Some(flags) = ["-Urm", "-m"].iter().find(|flags| can(flags)) else {
        println!("skipped {test}: this machine gives no mount namespace (unshare -Urm)");
        return false;
    };
    let ran = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && shown.contains("1 passed"), "{shown}");
    false
}
