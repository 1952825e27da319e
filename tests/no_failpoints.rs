//! What tests use to end the program at a chosen moment is not in the program that people run.
#![cfg(not(feature = "failpoints"))]

#[test]
fn the_binary_holds_no_failpoint() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_one-api-sidecar")).unwrap();
    let program = String::from_utf8_lossy(&program);
    assert!(program.contains("one_api_sidecar"), "text is found where it is");
    for text in ["FAILPOINTS", "before-vault-commit", "in-gateway-transaction", "full-once"] {
        assert!(!program.contains(text), "{text} is in the binary");
    }
}
