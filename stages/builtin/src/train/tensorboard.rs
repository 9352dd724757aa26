//! TensorBoard event files: TFRecord frames of `Event` messages, written without a protobuf library.
//!
//! A frame is the length (u64), its masked CRC-32C, the message, and the message's masked CRC-32C, all little-endian. The wall
//! time of an event is its step number, so that equal trainings give equal bytes.

use std::io::{self, Write};

/// CRC-32C (Castagnoli), reflected polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// TFRecord's masking, so that a checksum of data that holds checksums is no weaker.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field.
fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Writes events to a stream.
pub struct EventWriter<W> {
    out: W,
}

impl<W: Write> EventWriter<W> {
    /// Starts a file with its version event.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out };
        let mut event = vec![0x09];
        event.extend(0f64.to_le_bytes());
        field(3, b"brain.Event:2", &mut event);
        writer.frame(&event)?;
        Ok(writer)
    }

    fn frame(&mut self, message: &[u8]) -> io::Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(crc32c(&length)).to_le_bytes())?;
        self.out.write_all(message)?;
        self.out.write_all(&masked(crc32c(message)).to_le_bytes())
    }

    /// One event with the scalars of a step.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = Vec::new();
            field(1, tag.as_bytes(), &mut entry);
            entry.push(0x15);
            entry.extend((*value as f32).to_le_bytes());
            field(1, &entry, &mut summary);
        }
        let mut event = vec![0x09];
        event.extend((step as f64).to_le_bytes());
        event.push(0x10);
        varint(step, &mut event);
        field(5, &summary, &mut event);
        self.frame(&event)
    }

    /// # Errors
    /// The stream cannot be flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(0), 0xa282_ead8);
    }

    #[test]
    fn frames_are_laid_out_as_readers_expect() {
        let mut writer = EventWriter::new(Vec::new()).unwrap();
        writer.scalars(300, &[("loss", 0.5)]).unwrap();
        let bytes = writer.finish().unwrap();
        let mut rest = &bytes[..];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let message = &rest[12..12 + length];
            let checks =
                [&rest[8..12], &rest[12 + length..16 + length]].map(|b| u32::from_le_bytes(b.try_into().unwrap()));
            assert_eq!(checks, [masked(crc32c(&rest[..8])), masked(crc32c(message))]);
            messages.push(message);
            rest = &rest[16 + length..];
        }
        assert_eq!(messages.len(), 2);
        assert_eq!(&messages[0][9..], b"\x1a\x0dbrain.Event:2");
        let mut expected = vec![0x09];
        expected.extend(300f64.to_le_bytes());
        expected.extend([0x10, 0xac, 0x02, 0x2a, 13, 0x0a, 11, 0x0a, 4]);
        expected.extend(b"loss\x15");
        expected.extend(0.5f32.to_le_bytes());
        assert_eq!(messages[1], expected);
    }
}
