//! A page that changes with each second: counters that begin anew, series that come and go.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

pub(crate) struct Page(SocketAddr);

impl Page {
    /// Serves until the process ends.
    pub(crate) fn start() -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let begin = Instant::now();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(&stream, begin));
            }
        });
        Page(addr)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0
    }
}

fn serve(stream: &TcpStream, begin: Instant) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if line.trim().is_empty() {
            let body = text(begin.elapsed().as_secs_f64());
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = stream;
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                return;
            }
        }
        line.clear();
    }
}

/// The page `at_s` after its start.
fn text(at_s: f64) -> String {
    let whole = at_s.floor();
    let mut page = String::new();
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    for (at, zone) in ["a", "b", "c"].into_iter().enumerate() {
        let weight = 1.0 + at as f64;
        // Zone b restarts after 12 s.
        let since = if zone == "b" && at_s > 12.0 { whole - 12.0 } else { whole + 40.0 };
        for code in ["200", "500"] {
            let share = if code == "200" { 7.0 } else { 1.0 };
            let count = since * weight * share;
            line(format!("page_requests_total{{zone=\"{zone}\",code=\"{code}\"}} {count}"));
        }
        let depth = (whole * weight * 3.0) % 17.0;
        line(format!("page_queue_depth{{zone=\"{zone}\"}} {depth}"));
        line(format!("page_temperature{{zone=\"{zone}\"}} {}", 20.0 + weight * (at_s / 3.0).sin()));
        line(format!("page_limit{{zone=\"{zone}\",tier=\"t{}\"}} {}", at % 2, 10.0 * weight));
        let done = since * weight * 10.0;
        for (le, share) in [("0.1", 0.3), ("0.5", 0.6), ("1", 0.8), ("2.5", 0.95), ("+Inf", 1.0)] {
            let count = (done * share).floor();
            line(format!("page_wait_seconds_bucket{{zone=\"{zone}\",le=\"{le}\"}} {count}"));
        }
        line(format!("page_wait_seconds_count{{zone=\"{zone}\"}} {done}"));
        line(format!("page_wait_seconds_sum{{zone=\"{zone}\"}} {}", done * 0.4));
    }
    // What our own scraper knows the page by.
    line(format!("vllm:num_requests_waiting{{model_name=\"page\",engine=\"0\"}} {}", whole % 5.0));
    line("vllm:num_requests_running{model_name=\"page\",engine=\"0\"} 3".to_owned());
    // Here for eight seconds, then gone; and the other way round.
    if at_s < 8.0 {
        line("page_leaving{zone=\"a\"} 5".to_owned());
    } else {
        line("page_coming{zone=\"a\"} 6".to_owned());
    }
    page
}
