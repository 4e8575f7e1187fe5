# A PSGI application for starman's processes that calls another service with the blocking client of the standard library.
use strict;
use warnings;
use HTTP::Tiny;

my $client = HTTP::Tiny->new(keep_alive => 1);

sub {
    my ($environment) = @_;
    my $number = (split m{/}, $environment->{PATH_INFO})[2];
    $client->get("http://127.0.0.1:$ENV{BACKEND_PORT}/out/$number");
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => 5], ["done\n"]];
};
