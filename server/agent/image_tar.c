/* image_tar.c - tar, from strangers, in pieces. See image_tar.h. Called by image_layer.c and the fuzzer. */
#include "image_tar.h"

#include <stdio.h>
#include <string.h>

/* Header fields: offset and length. Spec: POSIX ustar interchange format */
enum {
    NAME = 0,
    NAME_LEN = 100,
    MODE = 100,
    UID = 108,
    GID = 116,
    ID_LEN = 8,
    SIZE = 124,
    MTIME = 136,
    NUM_LEN = 12,
    SUM = 148,
    SUM_LEN = 8,
    TYPE = 156,
    LINK = 157,
    LINK_LEN = 100,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_LEN = 155
};

void agent_tar_init(agent_tar *t, const agent_tar_events *events, void *user) {
    memset(t, 0, sizeof *t);
    t->events = events;
    t->user = user;
    t->meta = (eei_buf)EEI_BUF_INIT(AGENT_TAR_META_MAX);
}

void agent_tar_clear(agent_tar *t) { eei_buf_clear(&t->meta); }

/* ---- numbers ---- */

/* Octal text, or GNU's base-256 (high bit of the first byte). Negative numbers are refused; only mtime could have them. */
static bool parse_number(const uint8_t *at, size_t len, uint64_t *out) {
    uint64_t v = 0;
    size_t i = 0;
    if (at[0] == 0x80) {
        for (i = 1; i < len; i++) {
            if (v >> 55) return false;
            v = v << 8 | at[i];
        }
        *out = v;
        return true;
    }
    if (at[0] & 0x80) return false;
    while (i < len && at[i] == ' ') i++;
    for (; i < len && at[i] >= '0' && at[i] <= '7'; i++) {
        if (v >> 60) return false;
        v = v << 3 | (uint64_t)(at[i] - '0');
    }
    for (; i < len; i++)
        if (at[i] != ' ' && at[i] != '\0') return false;
    *out = v;
    return true;
}

static bool parse_decimal(ee_span text, uint64_t *out) {
    uint64_t v = 0;
    if (text.len == 0 || text.len > 18) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = v;
    return true;
}

static bool checksum_fits(const uint8_t *block) {
    uint64_t want;
    uint32_t sum = 0;
    for (size_t i = 0; i < 512; i++) sum += i >= SUM && i < SUM + SUM_LEN ? ' ' : block[i];
    return parse_number(block + SUM, SUM_LEN, &want) && want == sum;
}

/* ---- headers before an entry ---- */

static ee_status keep_name(ee_span text, char *out, bool *has, ee_error *err) {
    if (text.len > AGENT_TAR_NAME_MAX) return eei_fail(err, EE_E_IMAGE, "layer: name of %zu bytes, limit %u", text.len, AGENT_TAR_NAME_MAX);
    if (text.len && memchr(text.data, '\0', text.len)) return eei_fail(err, EE_E_IMAGE, "layer: name with a NUL byte");
    if (text.len) memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    *has = true;
    return EE_OK;
}

static bool key_is(ee_span key, const char *want) { return eei_span_equal(key, eei_span_text(want)); }

static ee_status pax_record(agent_tar *t, ee_span key, ee_span value, ee_error *err) {
    if (key_is(key, "path")) return keep_name(value, t->path, &t->has_path, err);
    if (key_is(key, "linkpath")) return keep_name(value, t->link, &t->has_link, err);
    if (key.len >= 10 && key_is(eei_span(key.data, 10), "GNU.sparse"))
        return eei_fail(err, EE_E_IMAGE, "layer: sparse files are not supported");
    bool ok = true;
    if (key_is(key, "size"))
        ok = t->has_size = parse_decimal(value, &t->size);
    else if (key_is(key, "uid"))
        ok = t->has_uid = parse_decimal(value, &t->uid);
    else if (key_is(key, "gid"))
        ok = t->has_gid = parse_decimal(value, &t->gid);
    else if (key_is(key, "mtime")) {
        const uint8_t *dot = value.len ? memchr(value.data, '.', value.len) : NULL;
        uint64_t seconds = 0;
        t->has_mtime =
            parse_decimal(eei_span(value.data, dot ? (size_t)(dot - value.data) : value.len), &seconds); /* before 1970: the header's own */
        t->mtime_unix_s = (int64_t)seconds;
    }
    return ok ? EE_OK : eei_fail(err, EE_E_IMAGE, "layer: pax header has a bad number");
}

/* "LEN key=value\n" ... ; the rest (extended attributes, access times) is not needed. */
static ee_status parse_pax(agent_tar *t, ee_error *err) {
    ee_span rest = eei_buf_span(&t->meta);
    while (rest.len) {
        const uint8_t *space = memchr(rest.data, ' ', rest.len < 8 ? rest.len : 8);
        uint64_t len = 0;
        if (!space || !parse_decimal(eei_span(rest.data, (size_t)(space - rest.data)), &len)) goto bad;
        size_t head = (size_t)(space - rest.data) + 1;
        if (len > rest.len || len < head + 2 || rest.data[len - 1] != '\n') goto bad;
        ee_span record = eei_span(rest.data + head, (size_t)len - head - 1);
        const uint8_t *equals = memchr(record.data, '=', record.len);
        if (!equals) goto bad;
        size_t key = (size_t)(equals - record.data);
        ee_status st = pax_record(t, eei_span(record.data, key), eei_span(equals + 1, record.len - key - 1), err);
        if (st) return st;
        rest = eei_span(rest.data + len, rest.len - (size_t)len);
    }
    return EE_OK;
bad:
    return eei_fail(err, EE_E_IMAGE, "layer: pax header is malformed");
}

static ee_status end_meta(agent_tar *t, ee_error *err) {
    ee_status st = EE_OK;
    ee_span text = eei_buf_span(&t->meta);
    if (t->meta_type == 'x') st = parse_pax(t, err);
    if (t->meta_type == 'L' || t->meta_type == 'K') {
        const uint8_t *nul = text.len ? memchr(text.data, '\0', text.len) : NULL; /* GNU ends it with one */
        if (nul) text.len = (size_t)(nul - text.data);
        st = t->meta_type == 'L' ? keep_name(text, t->path, &t->has_path, err) : keep_name(text, t->link, &t->has_link, err);
    }
    t->meta_type = 0;
    eei_buf_reset(&t->meta);
    return st;
}

/* ---- entries ---- */

static void copy_field(const uint8_t *block, size_t at, size_t len, char *out) {
    size_t n = strnlen((const char *)block + at, len);
    memcpy(out, block + at, n);
    out[n] = '\0';
}

static void default_names(agent_tar *t) {
    char name[NAME_LEN + 1], prefix[PREFIX_LEN + 1];
    if (!t->has_link) copy_field(t->block, LINK, LINK_LEN, t->link);
    if (t->has_path) return;
    copy_field(t->block, NAME, NAME_LEN, name);
    prefix[0] = '\0';
    if (memcmp(t->block + MAGIC, "ustar\0", 6) == 0) copy_field(t->block, PREFIX, PREFIX_LEN, prefix);
    snprintf(t->path, sizeof t->path, "%s%s%s", prefix, prefix[0] ? "/" : "", name);
}

static ee_status entry_type(char flag, const char *path, agent_tar_type *out, ee_error *err) {
    size_t len = strlen(path);
    switch (flag) {
    case '\0':
    case '0':
    case '7': *out = len && path[len - 1] == '/' ? AGENT_TAR_DIR : AGENT_TAR_FILE; return EE_OK; /* before ustar a slash meant directory */
    case '1': *out = AGENT_TAR_HARDLINK; return EE_OK;
    case '2': *out = AGENT_TAR_SYMLINK; return EE_OK;
    case '3':
    case '4': *out = AGENT_TAR_DEVICE; return EE_OK;
    case '5': *out = AGENT_TAR_DIR; return EE_OK;
    case '6': *out = AGENT_TAR_FIFO; return EE_OK;
    default: return eei_fail(err, EE_E_IMAGE, "layer: entry of unknown type 0x%02x", (unsigned char)flag);
    }
}

static void expect(agent_tar *t, uint64_t size) {
    t->left = size;
    t->padding = (512 - size % 512) % 512;
}

static void forget(agent_tar *t) { t->has_path = t->has_link = t->has_size = t->has_uid = t->has_gid = t->has_mtime = false; }

static ee_status begin_entry(agent_tar *t, uint64_t size, ee_error *err) {
    agent_tar_entry e = {.path = t->path, .link = "", .size = t->has_size ? t->size : size};
    uint64_t mode, uid, gid, mtime;
    default_names(t);
    ee_status st = entry_type((char)t->block[TYPE], t->path, &e.type, err);
    if (st) return st;
    if (!parse_number(t->block + MODE, ID_LEN, &mode) || !parse_number(t->block + UID, ID_LEN, &uid) ||
        !parse_number(t->block + GID, ID_LEN, &gid))
        return eei_fail(err, EE_E_IMAGE, "layer: header with a bad number");
    if (!parse_number(t->block + MTIME, NUM_LEN, &mtime)) mtime = 0; /* before 1970, in GNU's form */
    e.mode = (uint32_t)mode & 07777;
    e.uid = t->has_uid ? t->uid : uid;
    e.gid = t->has_gid ? t->gid : gid;
    e.mtime_unix_s = t->has_mtime ? t->mtime_unix_s : (int64_t)(mtime & INT64_MAX);
    if (e.type == AGENT_TAR_HARDLINK || e.type == AGENT_TAR_SYMLINK) e.link = t->link;
    if (e.type != AGENT_TAR_FILE) e.size = 0; /* a size here is a leftover: no data follows (as Go's archive/tar reads it) */
    if (e.size > (uint64_t)1 << 50) return eei_fail(err, EE_E_IMAGE, "layer: file of %llu bytes", (unsigned long long)e.size);
    forget(t);
    expect(t, e.size);
    st = t->events->entry(t->user, &e, err);
    if (!st && e.type == AGENT_TAR_FILE && e.size == 0) st = t->events->file_end(t->user, err);
    return st;
}

static bool is_zero(const uint8_t *block) {
    for (size_t i = 0; i < 512; i++)
        if (block[i]) return false;
    return true;
}

static ee_status on_block(agent_tar *t, ee_error *err) {
    uint64_t size;
    if (is_zero(t->block)) {
        t->ended = ++t->zero_blocks == 2; /* what follows is padding, and covered by the hash all the same */
        return EE_OK;
    }
    if (t->zero_blocks || !checksum_fits(t->block)) return eei_fail(err, EE_E_IMAGE, "layer: tar header with a wrong checksum");
    if (!parse_number(t->block + SIZE, NUM_LEN, &size)) return eei_fail(err, EE_E_IMAGE, "layer: header with a bad size");
    char flag = (char)t->block[TYPE];
    if (flag != 'x' && flag != 'g' && flag != 'L' && flag != 'K') return begin_entry(t, size, err);
    if (size > AGENT_TAR_META_MAX)
        return eei_fail(err, EE_E_IMAGE, "layer: extended header of %llu bytes, limit %u", (unsigned long long)size, AGENT_TAR_META_MAX);
    t->meta_type = flag; /* 'g' is collected and dropped: no writer of images uses it but git, for a comment */
    expect(t, size);
    return size ? EE_OK : end_meta(t, err);
}

static size_t at_most(uint64_t left, size_t len) { return left < len ? (size_t)left : len; }

/* Data of a file, or of an extended header. */
static ee_status take_data(agent_tar *t, ee_span data, ee_error *err) {
    t->left -= data.len;
    if (!t->meta_type) {
        ee_status st = t->events->data(t->user, data, err);
        return st || t->left ? st : t->events->file_end(t->user, err);
    }
    ee_status st = eei_buf_append_span(&t->meta, data);
    if (st) return eei_nomem(err);
    return t->left ? EE_OK : end_meta(t, err);
}

ee_status agent_tar_feed(agent_tar *t, ee_span data, ee_error *err) {
    ee_status st = EE_OK;
    while (data.len && !t->ended && !st) {
        size_t n;
        if (t->left) {
            n = at_most(t->left, data.len);
            st = take_data(t, eei_span(data.data, n), err);
        } else if (t->padding) {
            n = at_most(t->padding, data.len);
            t->padding -= n;
        } else {
            n = at_most(sizeof t->block - t->block_len, data.len);
            memcpy(t->block + t->block_len, data.data, n);
            t->block_len += n;
            if (t->block_len == sizeof t->block) {
                t->block_len = 0;
                st = on_block(t, err);
            }
        }
        data = eei_span(data.data + n, data.len - n);
    }
    return st;
}

ee_status agent_tar_finish(agent_tar *t, ee_error *err) {
    if (t->left || t->block_len || t->meta_type) return eei_fail(err, EE_E_IMAGE, "layer: the archive ends in the middle of an entry");
    return EE_OK; /* a missing end mark is common and harmless: the hash says that nothing is missing */
}
