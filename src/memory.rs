//! Memory that is free goes back to the system, and so do pages of the program that only its start needed.
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

/// Gives those pages of the program's own file back that were read to run it: most of them were needed once, to start, to
/// read the config, or to refresh. What runs again is there again at once, for the system keeps the file in memory as long
/// as nobody needs that memory more.
pub fn forget_the_program() {
    #[cfg(target_os = "linux")]
    #[expect(
        unsafe_code,
        reason = "the loader's list of the program's parts, and the one call that the system has for it"
    )]
    // SAFETY: `forget` has the type that the loader calls, and keeps nothing of what it is given.
    unsafe {
        libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut());
    }
}

/// Told of one loaded file by the loader: the first is the program itself, and the only one that is of interest.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "as above")]
unsafe extern "C" fn forget(file: *mut libc::dl_phdr_info, _size: usize, _data: *mut libc::c_void) -> libc::c_int {
    /// Enough for any architecture: whole pages are given back.
    const PAGE: usize = 64 * 1024;
    // SAFETY: the loader gives a valid description that lasts for this call, with so many headers.
    let (base, headers) = unsafe {
        let file = &*file;
        (file.dlpi_addr as usize, std::slice::from_raw_parts(file.dlpi_phdr, file.dlpi_phnum.into()))
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let begin = (base + header.p_vaddr as usize).next_multiple_of(PAGE);
        let end = (base + (header.p_vaddr + header.p_memsz) as usize) / PAGE * PAGE;
        if begin < end {
            // SAFETY: the pages are the program's, mapped from its file, and cannot be written to: what is dropped is read
            // from the file again when it is needed. A refusal changes nothing.
            unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
        }
    }
    1
}
