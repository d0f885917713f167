//! The bytes of an answer as text: decompressed, and by their charset.

use encoding_rs::{Encoding, UTF_8};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::{borrow::Cow, io::Read};

/// How far into a page its own word on its charset is looked for (HTML, "prescan a byte stream").
const PRESCAN_BYTES: usize = 1_024;

/// What a coded body holds, at most `most` bytes of it, and whether that is all. `None` for a coding that is not known, and for bytes
/// that are not so coded.
pub(super) fn decompressed(coding: &str, body: &[u8], most: usize) -> Option<(Vec<u8>, bool)> {
    match coding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), most),
        // Half of the servers leave the wrapping out.
        "deflate" => read(ZlibDecoder::new(body), most).or_else(|| read(DeflateDecoder::new(body), most)),
        _ => None,
    }
}

fn read(mut coded: impl Read, most: usize) -> Option<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    let read = coded.by_ref().take(most as u64 + 1).read_to_end(&mut out);
    match read {
        // Of a body that broke off there is what came before.
        Err(_) if out.is_empty() => None,
        _ => {
            let is_whole = read.is_ok() && out.len() <= most;
            out.truncate(most);
            Some((out, is_whole))
        }
    }
}

/// The text of bytes: by a mark of its byte order, else by the charset of the content type, else by what a page says of itself, else as
/// UTF-8. What cannot be read is replaced.
pub(super) fn text<'a>(body: &'a [u8], content_type: &str) -> Cow<'a, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(body) {
        return encoding.decode_without_bom_handling(&body[mark..]).0;
    }
    let said = charset(content_type).or_else(|| prescanned(body, content_type));
    said.unwrap_or(UTF_8).decode_without_bom_handling(body).0
}

fn charset(content_type: &str) -> Option<&'static Encoding> {
    let parameters = content_type.split(';').skip(1);
    let mut named = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    });
    Encoding::for_label(named.next()?.as_bytes())
}

/// `<meta charset="…">`, or the content type that a `<meta>` stands for; of XML its declaration.
fn prescanned(body: &[u8], content_type: &str) -> Option<&'static Encoding> {
    if !content_type.contains("html") && !content_type.contains("xml") {
        return None;
    }
    let head = String::from_utf8_lossy(&body[..body.len().min(PRESCAN_BYTES)]).to_ascii_lowercase();
    let (_, after) = head.split_once("charset=").or_else(|| head.split_once("encoding="))?;
    let label: String =
        after.trim_start_matches(['"', '\'', ' ']).chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c)).collect();
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write};
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut coded = write::GzEncoder::new(Vec::new(), Compression::default());
        coded.write_all(text).expect("written");
        coded.finish().expect("finished")
    }

    #[test]
    fn bytes_are_read_by_their_mark_else_by_their_charset_else_by_what_the_page_says() {
        for (body, content_type, expected) in [
            (&b"caf\xe9"[..], "text/plain; charset=ISO-8859-1", "café"),
            (b"\x93hi\x94", "text/plain;charset=\"windows-1252\"", "“hi”"),
            (b"\x82\xb1", "application/json; charset=Shift_JIS", "こ"),
            (b"\xef\xbb\xbf{}", "application/json", "{}"),
            (b"\xff\xfeh\0i\0", "text/plain", "hi"),
            (b"\xfe\xff\0h\0i", "text/plain; charset=utf-8", "hi"),
            (b"<meta charset=latin1>\xe9", "text/html", "<meta charset=latin1>é"),
            (b"<?xml encoding='latin1'?>\xe9", "application/xml", "<?xml encoding='latin1'?>é"),
            (b"\xe9 charset=latin1", "text/plain", "\u{fffd} charset=latin1"),
            (b"a\xff", "text/plain; charset=made-up", "a\u{fffd}"),
        ] {
            assert_eq!(text(body, content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn what_is_compressed_is_read_as_far_as_it_is_kept() {
        assert_eq!(decompressed("GZIP", &gzip(b"hello"), 100), Some((b"hello".to_vec(), true)));
        let bomb = gzip(&vec![b'x'; 10 << 20]);
        assert_eq!(decompressed("gzip", &bomb, 1_000), Some((vec![b'x'; 1_000], false)), "a bomb is not unfolded");
        let half = gzip("hello world ".repeat(10_000).as_bytes());
        let (begun, is_whole) = decompressed("gzip", &half[..half.len() / 2], 1 << 20).expect("its beginning");
        assert!(begun.starts_with(b"hello") && !is_whole);
        let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(b"hello").expect("written");
        assert_eq!(decompressed("deflate", &zlib.finish().expect("finished"), 100), Some((b"hello".to_vec(), true)));
        let mut bare = write::DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(b"hello").expect("written");
        assert_eq!(decompressed("deflate", &bare.finish().expect("finished"), 100), Some((b"hello".to_vec(), true)));
        assert_eq!((decompressed("gzip", b"xx", 100), decompressed("br", b"xx", 100)), (None, None));
    }
}
