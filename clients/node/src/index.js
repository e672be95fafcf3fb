export { Client } from './client.js';
export { InDoubt, OrderEngineError, Refused, SettingsError, Unexpected, Unreachable } from './errors.js';
