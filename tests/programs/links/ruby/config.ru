# A Rack application for puma's threads that calls another service with the blocking client of the standard library.
require 'net/http'

backend = Integer(ENV.fetch('BACKEND_PORT'))

run lambda { |env|
  number = env['PATH_INFO'].split('/')[2]
  client = Thread.current[:client] ||= Net::HTTP.new('127.0.0.1', backend).tap do |http|
    http.keep_alive_timeout = 60
    http.start
  end
  client.get("/out/#{number}")
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => '5' }, ["done\n"]]
}
