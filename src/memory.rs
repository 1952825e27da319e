//! Memory that is free goes back to the system.
//!
//! Reading a config of ten thousand credentials, or refreshing all of them at once, takes memory for a moment. glibc
//! keeps what was freed in between of what stays, for the rest of the process's life, unless it is told to give whole
//! pages back. musl does so by itself. Called when a config was read at the start, and by the vault's thread when the
//! agent says that it was busy and is not any more.

/// Large pieces always come from the system and go back to it. By itself glibc does so only until the first was freed,
/// and puts those that come later between what is small and stays.
pub fn be_frugal() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the one call that glibc has for it")]
    // SAFETY: mallopt takes two numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

/// Gives pages back that hold nothing. Takes about a millisecond for each ten megabytes.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the one call that glibc has for it")]
    // SAFETY: malloc_trim takes no pointer, has no precondition, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
