//! As much of Tracy's viewer as it takes to be sent everything: a handshake (protocol 82, Tracy 0.14.1), then frames of
//! a length and an LZ4 block. A block's tokens tell how long it is unpacked; it is not unpacked.

use crate::machine;
use std::io::Read;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of a welcome: numbers, the processor's maker, the program's name, a description of the host.
const WELCOME: usize = 8 * 8 + 2 + 12 + 4 + 64 + 1024;
const PROTOCOL: u32 = 82;

static SEEN: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds of processor time.
static TIME: AtomicU64 = AtomicU64::new(0);

/// A port that nobody has just now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a port");
    listener.local_addr().expect("it is bound").port()
}

/// Bytes that have come so far, unpacked.
pub(super) fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// Processor time that the viewer has used.
pub(super) fn time() -> Duration {
    Duration::from_nanos(TIME.load(Ordering::Relaxed))
}

/// Connects, and reads on a thread of its own.
pub(super) fn open(port: u16) {
    let mut stream = connect(port);
    stream
        .write_all(b"TracyPrf")
        .and_then(|()| stream.write_all(&PROTOCOL.to_le_bytes()))
        .expect("it listens");
    let mut welcome = [0; 1 + WELCOME];
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time above zero");
    stream.read_exact(&mut welcome).expect("a welcome");
    stream.set_read_timeout(None).expect("no time is allowed");
    assert_eq!(welcome[0], 1, "Tracy does not welcome protocol {PROTOCOL}");
    std::thread::spawn(move || {
        while let Some(bytes) = frame(&mut stream) {
            SEEN.fetch_add(bytes, Ordering::Relaxed);
            TIME.store(machine::thread_time().as_nanos() as u64, Ordering::Relaxed);
        }
    });
}

/// The client needs a moment before it listens.
fn connect(port: u16) -> TcpStream {
    for _ in 0..200 {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("Tracy does not listen on {port}");
}

/// One frame's length, unpacked; `None` when the client has gone.
fn frame(stream: &mut TcpStream) -> Option<u64> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut block = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut block).ok()?;
    Some(unpacked(&block))
}

/// The length that an LZ4 block unpacks to: of each sequence, its literals and its match.
fn unpacked(block: &[u8]) -> u64 {
    let (mut at, mut length) = (0, 0);
    // A length of 15 goes on in the bytes that follow, up to the first below 255.
    let read = |at: &mut usize, mut length: u64| {
        if length == 15 {
            while let Some(byte) = block.get(*at) {
                *at += 1;
                length += u64::from(*byte);
                if *byte < 255 {
                    break;
                }
            }
        }
        length
    };
    while let Some(token) = block.get(at) {
        at += 1;
        let literals = read(&mut at, u64::from(token >> 4));
        length += literals;
        at += literals as usize;
        // The last sequence has no match.
        if at >= block.len() {
            break;
        }
        at += 2;
        length += read(&mut at, u64::from(token & 15)) + 4;
    }
    length
}
