//! The real agent under a service manager: what it hears at its socket, from the start to the end.

mod support;

use std::time::Duration;

use support::endpoint::{Action, Options};
use support::scene::Scene;
use support::service::Manager;
use support::{SOON, eventually};

#[test]
fn it_is_ready_says_how_things_stand_and_stops() {
    let mut scene = Scene::new(Options::default(), "");
    let manager = Manager::of(&mut scene.bench);
    let agent = scene.bench.start();
    assert!(manager.wait_for("READY=1").contains("\nSTATUS=1 credentials: 1 waiting"));
    manager.wait_for("STATUS=1 credentials: 1 active");

    scene.endpoint.script([Action::json(400, r#"{"error":"invalid_grant"}"#)]);
    scene.bench.run_command(&["once", "--force"]);
    manager.wait_for("STATUS=1 credentials: 1 halted (kept)");

    agent.stop();
    let last = manager.wait_for("STOPPING=1");
    assert!(last.contains("\nSTATUS=Stopping"), "{last}");
}

#[test]
fn a_reload_begins_and_ends_whatever_comes_of_it() {
    let mut scene = Scene::new(Options::default(), "");
    let manager = Manager::of(&mut scene.bench);
    let mut agent = scene.bench.start();
    manager.wait_for("READY=1");
    let good = std::fs::read_to_string(scene.bench.config()).unwrap();

    let began = |message: &str| message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u64>().unwrap();
    agent.hangup();
    let first = began(&manager.wait_for("RELOADING=1"));
    manager.wait_for("READY=1");

    scene.bench.write_config("nonsense");
    manager.wait_for("STATUS=1 credentials: 1 active; the changed config file was not taken");
    for _ in 0..2 {
        // The same trouble twice is an answer twice.
        agent.hangup();
        let again = began(&manager.wait_for("RELOADING=1"));
        assert!(again > first, "{again} {first}");
        manager.wait_for("READY=1");
    }
    std::fs::remove_file(scene.bench.config()).unwrap();
    assert!(agent.wait_for_line("cannot be read", SOON).is_some(), "{}", agent.output());
    agent.hangup();
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    scene.bench.write_config(&good);
    loop {
        if !manager.wait_for("STATUS=").contains("not taken") {
            break;
        }
    }
    agent.stop();
}

#[test]
fn the_watchdog_is_fed_while_the_loop_turns() {
    let mut scene = Scene::new(Options::default(), "");
    let manager = Manager::of(&mut scene.bench);
    scene.bench.env("WATCHDOG_USEC", "400000");
    let mut agent = scene.bench.start();
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    agent.pause();
    while manager.next().is_some() {}
    assert_eq!(manager.next(), None, "nobody else feeds it");
}

#[test]
fn the_watchdog_of_another_process_is_left_alone() {
    let mut scene = Scene::new(Options::default(), "");
    let manager = Manager::of(&mut scene.bench);
    scene.bench.env("WATCHDOG_USEC", "10000");
    scene.bench.env("WATCHDOG_PID", "1");
    let agent = scene.bench.start();
    manager.wait_for("1 active");
    agent.stop();
    let rest: Vec<String> = std::iter::from_fn(|| manager.next()).collect();
    assert!(!rest.iter().any(|message| message.contains("WATCHDOG")), "{rest:?}");
}

#[test]
fn a_stand_by_is_ready_reloads_and_takes_over() {
    let mut scene = Scene::new(Options::default(), "");
    let first = scene.bench.start();
    assert!(eventually(SOON, || scene.is_delivered()), "{}", first.output());
    let manager = Manager::of(&mut scene.bench);
    scene.bench.env("WATCHDOG_USEC", "2000000");
    let mut second = scene.bench.spawn_run();
    assert!(manager.wait_for("READY=1").contains("\nSTATUS=Standing by: "));
    manager.wait_for("WATCHDOG=1");
    second.hangup();
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    first.stop();
    assert!(manager.wait_for("READY=1").contains("\nSTATUS=1 credentials: 1 active"));
    manager.wait_for("WATCHDOG=1");
    second.stop();
    manager.wait_for("STOPPING=1");
}

#[test]
fn a_service_manager_that_never_reads_holds_up_no_refresh() {
    let mut scene = Scene::strict(Duration::from_secs(2), "refresh_before = \"1s\"");
    let _never_read = Manager::of(&mut scene.bench);
    scene.bench.env("WATCHDOG_USEC", "2000");
    let agent = scene.bench.start();
    assert!(eventually(SOON * 2, || scene.endpoint.requests().len() >= 5), "{}", agent.output());
    assert!(eventually(SOON, || scene.serves()), "{}", agent.output());
    agent.stop();
}
