// Where the server is, and the key: what is given, the environment, and the file that all clients of order-engine share.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

import { SettingsError } from './errors.js';

const URL_DEFAULT = 'http://127.0.0.1:3000';
const LINE = /^(url|key|key_file)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*')\s*(?:#.*)?$/;

/** Returns the settings of the environment, and where it says nothing those of the file. */
export function fromEnvironment(environment = process.env) {
  const set = (name) => environment[name]?.trim() || undefined;
  const named = set('ORDER_ENGINE_CONFIG');
  const usual = path.join(set('XDG_CONFIG_HOME') ?? path.join(set('HOME') ?? homedir(), '.config'), 'order-engine/cli.toml');
  const file = named !== undefined || existsSync(usual) ? readFile(named ?? usual) : {};
  return { url: set('ORDER_ENGINE_URL') ?? file.url ?? URL_DEFAULT, key: set('ORDER_ENGINE_KEY') ?? file.key };
}

/** Checks an address and a key, and returns them as they are used. */
export function checked({ url = URL_DEFAULT, key, insecureHttp = false }) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch {
    throw new SettingsError('the address of the server is no URL');
  }
  if (!['http:', 'https:'].includes(parsed.protocol) || parsed.username || parsed.password || parsed.search || parsed.hash) {
    throw new SettingsError('the address of the server must be http://host:port or https://host:port, without a user');
  }
  const trimmed = key?.trim() || undefined;
  if (trimmed !== undefined && parsed.protocol === 'http:' && !isLoopback(parsed.hostname) && !insecureHttp) {
    throw new SettingsError('the key is not sent over http:// to another machine, because everybody on the way could read it: '
      + 'use https://, or insecureHttp');
  }
  if (trimmed !== undefined && !/^[\x21-\x7e]+$/.test(trimmed)) {
    throw new SettingsError('the key has characters that no key has');
  }
  return { url: url.replace(/\/+$/, ''), key: trimmed };
}

function isLoopback(host) {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Reads the file: TOML of at most three texts. No message shows a line, which may have the key. */
function readFile(file) {
  const settings = {};
  for (const line of read(file).split(/\r?\n/).map((text) => text.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const [, name, text] = line.match(LINE) ?? [];
    if (name === undefined || name in settings) throw unusable(file);
    settings[name] = text.startsWith("'") ? text.slice(1, -1) : unescaped(text, file);
  }
  if ('key' in settings) {
    checkPrivate(file);
    if ('key_file' in settings) throw new SettingsError(`${file} has both key and key_file`);
  }
  if ('key_file' in settings) {
    const keyFile = path.resolve(path.dirname(file), settings.key_file);
    settings.key = read(keyFile).trim();
    checkPrivate(keyFile);
  }
  return { url: settings.url?.trim() || undefined, key: settings.key?.trim() || undefined };
}

function unescaped(text, file) {
  try {
    return JSON.parse(text);
  } catch {
    throw unusable(file);
  }
}

function unusable(file) {
  return new SettingsError(`${file} must have url, and key or key_file, and nothing else`);
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new SettingsError(`cannot read ${file}: ${error.code}`);
  }
}

function checkPrivate(file) {
  if (process.platform !== 'win32' && (statSync(file).mode & 0o077) !== 0) {
    throw new SettingsError(`${file} has a key, and others may read it: chmod 600 ${file}`);
  }
}
