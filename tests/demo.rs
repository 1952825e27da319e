//! The demo keeps its word, and shows no token while it does.

mod support;

use support::process::Bench;

#[test]
fn the_demo_ends_well_and_leaves_its_files_where_it_was_told() {
    let mut bench = Bench::new();
    // As in the image, which has no certificates of a system.
    bench.env("SSL_CERT_FILE", bench.path("none").to_str().unwrap());
    bench.env("SSL_CERT_DIR", bench.path("none").to_str().unwrap());
    let kept = bench.path("kept");
    let arguments = ["demo", "--cycles", "1", "--keep", kept.to_str().unwrap()];
    let output = bench.run_command(&arguments);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("reuse detected           0"), "{output:?}");
    assert!(output.stdout.contains("requests refused         0 of "), "{output:?}");
    let log = std::fs::read_to_string(kept.join("agent.log")).unwrap();
    for text in [output.stdout, output.stderr, log] {
        assert!(!text.contains("demo-access-") && !text.contains("demo-refresh-"), "a token is shown:\n{text}");
    }
    assert!(kept.join("one-api.db").exists() && kept.join("sidecar.toml").exists());

    let again = bench.run_command(&arguments);
    assert_ne!(again.code, Some(0), "a folder with files in it is not used again: {again:?}");
}
